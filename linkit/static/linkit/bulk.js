/* Bulk files: a file dropped or chosen, its upload, and figures that follow a job. Every page works without this. */
"use strict";

(function () {
  // --- a file is chosen or dropped, and told ---

  function setUpDrop(zone) {
    const input = zone.querySelector("input[type=file]");
    const told = zone.querySelector("[data-drop-told]");
    zone.querySelector("[data-drop-hint]").hidden = false;

    function size(bytes) {
      const isSmall = bytes < 100_000;
      const figure = (bytes / (isSmall ? 1000 : 1_000_000)).toLocaleString("en", { maximumFractionDigits: 1 });
      return (isSmall ? zone.dataset.small : zone.dataset.size).replace("{size}", figure);
    }

    function part(text) {
      const isolated = document.createElement("bdi");
      isolated.textContent = text;
      return isolated;
    }

    function tell() {
      const file = input.files[0];
      told.replaceChildren(...(file ? [part(file.name), " · ", part(size(file.size))] : []));
      if (file && input.validationMessage) {
        told.append(" · ", input.validationMessage); // too large
      }
      told.classList.toggle("is-over", Boolean(file && input.validationMessage));
    }

    function hasFiles(event) {
      return event.dataTransfer && Array.from(event.dataTransfer.types).includes("Files");
    }

    zone.addEventListener("dragenter", (event) => zone.classList.toggle("is-over-it", hasFiles(event)));
    zone.addEventListener("dragleave", function (event) {
      if (!zone.contains(event.relatedTarget)) {
        zone.classList.remove("is-over-it");
      }
    });
    zone.addEventListener("drop", function (event) {
      zone.classList.remove("is-over-it");
      if (!hasFiles(event) || !event.dataTransfer.files.length) {
        return;
      }
      const one = new DataTransfer(); // of several the first: the form takes one
      one.items.add(event.dataTransfer.files[0]);
      input.files = one.files;
      input.dispatchEvent(new Event("change", { bubbles: true }));
    });
    // A file that misses the zone must not replace the page.
    for (const name of ["dragover", "drop"]) {
      document.addEventListener(name, function (event) {
        if (hasFiles(event)) {
          event.preventDefault();
        }
      });
    }
    // After console.js, which listens at the document and says whether the file is too large.
    document.addEventListener("change", (event) => event.target === input && tell());
    tell();
  }

  for (const zone of document.querySelectorAll("[data-drop]")) {
    setUpDrop(zone);
  }

  // --- an upload that takes long shows that it is under way ---

  for (const row of document.querySelectorAll("[data-uploading]")) {
    const words = row.querySelector("[data-uploading-words]");
    row.closest("form").addEventListener("submit", function () {
      row.hidden = false;
      words.textContent = words.dataset.uploadingWords;
    });
    window.addEventListener("pageshow", function () {
      row.hidden = true;
      words.textContent = "";
    });
  }

  // --- the page of a job follows its figures while it is under way ---

  const EVERY = 2000;
  const TRIES = 5; // that fail in a row, before the page says that it does not follow any more
  const STEP = 10; // percent, between two announcements to who listens to the page

  function number(value) {
    return value.toLocaleString("en", { maximumFractionDigits: 2 });
  }

  // As outbox.console.duration, whose words are on the page.
  function duration(seconds, words) {
    if (seconds < 60) {
      return words.seconds.replace("{seconds}", seconds);
    }
    const minutes = Math.ceil(seconds / 60);
    return (minutes < 60 ? words.minutes : words.hours)
      .replace("{hours}", Math.floor(minutes / 60))
      .replace("{minutes}", minutes % 60);
  }

  function follow(page) {
    const note = page.querySelector("[data-following]");
    const without = note.textContent;
    const words = page.querySelector("[data-seconds]").dataset;
    const announcer = page.querySelector("[data-announce]");
    const bar = page.querySelector("[role=progressbar]");
    let failed = 0;
    let announced = bar ? Number(bar.getAttribute("aria-valuenow")) : 0;
    note.textContent = note.dataset.following;

    function announce(percent, left) {
      if (percent < announced + STEP) {
        return;
      }
      announced = percent;
      const text = left === null ? announcer.dataset.announce : announcer.dataset.announceLeft;
      announcer.textContent = text.replace("{percent}", percent).replace("{left}", left);
    }

    function show(figures) {
      const total = Math.max(1, figures.total);
      const percent = Math.floor(((figures.total - figures.pending) * 100) / total);
      const left = figures.eta_seconds === null ? null : duration(figures.eta_seconds, words);
      const shown = { ...figures, percent };
      for (const place of page.querySelectorAll("[data-progress]")) {
        const value = shown[place.dataset.progress];
        place.textContent = value === null ? "–" : place.dataset.progress === "eta_seconds" ? left : number(value);
      }
      for (const place of page.querySelectorAll("[data-when]")) {
        place.hidden = (place.dataset.when === "measured") === (figures.rate_per_second === null);
      }
      let start = 0;
      for (const slice of page.querySelectorAll("[data-slice]")) {
        const width = Math.floor((figures[slice.dataset.slice] * 1000) / total);
        slice.setAttribute("x", start);
        slice.setAttribute("width", width);
        start += width;
      }
      if (bar) {
        bar.setAttribute("aria-valuenow", percent);
        announce(percent, left);
      }
    }

    async function look() {
      try {
        const answer = await fetch(page.dataset.follow, { headers: { Accept: "application/json" }, redirect: "error" });
        if (!answer.ok) {
          throw new Error(String(answer.status));
        }
        const figures = await answer.json();
        failed = 0;
        if (figures.status !== page.dataset.status) {
          window.location.reload(); // other words, other buttons
          return;
        }
        show(figures);
      } catch {
        failed += 1;
        if (failed >= TRIES) {
          note.textContent = without;
          return;
        }
      }
      setTimeout(look, EVERY);
    }

    setTimeout(look, EVERY);
  }

  for (const page of document.querySelectorAll("[data-follow]")) {
    follow(page);
  }
})();
