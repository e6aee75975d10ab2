/* Counts a template while it is typed, by segments.js: what each contact gets is for the preview to count. */
"use strict";

(function () {
  const NAMED = 8; // characters

  for (const area of document.querySelectorAll("textarea[data-counter]")) {
    const place = document.getElementById(area.dataset.counter);
    const outside = place.querySelector("[data-outside]");
    const show = function () {
      const found = smsSegments(area.value);
      const odd = new Set(found.runs.filter((run) => run.isOutside).flatMap((run) => Array.from(run.text)));
      const values = {
        characters: found.characters,
        encoding: found.encoding,
        parts: found.count,
        outside: Array.from(odd).slice(0, NAMED).join(" ") + (odd.size > NAMED ? " …" : ""),
      };
      for (const figure of place.querySelectorAll("[data-figure]")) {
        figure.textContent = values[figure.dataset.figure];
      }
      outside.hidden = !odd.size;
    };
    place.hidden = false;
    area.addEventListener("input", show);
    show();
  }
})();
