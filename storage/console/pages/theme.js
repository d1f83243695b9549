// Before anything is drawn: the colours that were chosen here, else the system's; and another try
// where a part of the page does not come.
"use strict";
{
  const chosen = localStorage.getItem("oversight-theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;

  // A network that changes (a container that starts is enough) breaks off what is under way, and a
  // page without one of its modules stays empty: only such a page is loaded again. `main.js` forgets
  // the tries once it runs.
  const TRIES = "oversight-tries";
  const again = ({ target }) => {
    const tries = Number(sessionStorage.getItem(TRIES));
    const ours =
      target instanceof HTMLScriptElement &&
      target.src.startsWith(new URL("static/", document.baseURI));
    if (!ours || tries >= 5 || document.getElementById("app")?.hasChildNodes()) return;
    sessionStorage.setItem(TRIES, tries + 1);
    setTimeout(() => location.reload(), 200 * 2 ** tries);
  };
  addEventListener("error", again, true);
}
