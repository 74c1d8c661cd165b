// Light or dark, as the system says or as chosen; kept in this browser. Set before anything is drawn.
(() => {
  const system = matchMedia("(prefers-color-scheme: dark)");
  const next = { system: "light", light: "dark", dark: "system" };
  let wanted = "system";
  try {
    wanted = localStorage.getItem("tickline-shade") ?? "system";
  } catch {} // storage may be forbidden
  function apply() {
    const shade = wanted === "system" ? (system.matches ? "dark" : "light") : wanted;
    document.documentElement.dataset.shade = shade;
    const button = document.querySelector("[data-shades]");
    if (button) button.textContent = `Colours: ${wanted}`;
  }
  system.addEventListener("change", apply);
  document.addEventListener("click", (event) => {
    if (!event.target.closest?.("[data-shades]")) return;
    wanted = next[wanted] ?? "system";
    try {
      localStorage.setItem("tickline-shade", wanted);
    } catch {}
    apply();
  });
  apply();
  window.ticklineShade = apply;
})();
