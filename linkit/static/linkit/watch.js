/* The page of a message that is under way shows by itself how it goes on: it is loaded again when something is new. */
"use strict";

(function () {
  const place = document.querySelector("[data-watch]");
  if (!place) {
    return;
  }
  const PAUSES = [1, 1, 2, 2, 3, 5, 5, 10, 10, 15, 15, 30, 30, 60]; // seconds; then the person does it
  let looks = 0;
  place.hidden = false;

  async function look() {
    try {
      const answer = await fetch(window.location.href, { redirect: "error" });
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      if (answer.ok && page.querySelector("[data-watch]")?.dataset.watch !== place.dataset.watch) {
        window.location.reload();
        return;
      }
    } catch {
      // The server restarts, or the network is away: the next look may be answered.
    }
    next();
  }

  function next() {
    if (looks < PAUSES.length) {
      setTimeout(look, PAUSES[looks] * 1000);
      looks += 1;
    } else {
      place.hidden = true;
    }
  }

  next();
})();
