// Before anything is drawn: the colours that were chosen here, else the system's; and another try
// where a part of the page does not come. The server writes this into the page.
"use strict";
{
  try {
    const chosen = localStorage.getItem("oversight-theme");
    if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
  } catch {
    // Storage is switched off: nothing was chosen.
  }

  // A network that changes (a container that starts is enough) breaks off what is under way, and a
  // page without one of its parts stays empty or bare: only such a page is loaded again, five times
  // at most.
  const TRIES = "oversight-tries";
  const TRIES_MAX = 5;
  let complete = true;
  let gaveUp = false;
  // What was only to come early is asked for again by the script that needs it.
  const isOurs = ({ src, href, rel }) =>
    rel !== "modulepreload" &&
    String(src ?? href ?? "").startsWith(new URL("static/", document.baseURI));
  const again = ({ target }) => {
    if (!complete || document.readyState === "complete" || !isOurs(target)) return;
    complete = false;
    const tries = Number(sessionStorage.getItem(TRIES));
    gaveUp = tries >= TRIES_MAX;
    if (gaveUp) return;
    sessionStorage.setItem(TRIES, tries + 1);
    setTimeout(() => location.reload(), 200 * 2 ** tries);
  };
  addEventListener("error", again, true);
  addEventListener("load", () => {
    if (complete) sessionStorage.removeItem(TRIES);
    document.getElementById("lost").hidden = !gaveUp;
  });
}
