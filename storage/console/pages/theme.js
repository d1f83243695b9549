// Before anything is drawn: the colours that were chosen here, else the system's.
"use strict";
{
  const chosen = localStorage.getItem("oversight-theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
}
