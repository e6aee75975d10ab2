/* Small comforts of the console. Every page works without them. */
"use strict";

(function () {
  // --- a form marked data-once is sent once: a double click must not make two of anything ---

  document.addEventListener("submit", function (event) {
    const form = event.target;
    if (!(form instanceof HTMLFormElement) || !form.hasAttribute("data-once")) {
      return;
    }
    if (form.dataset.sent) {
      event.preventDefault();
      return;
    }
    form.dataset.sent = "yes";
    // A disabled button would not be part of what is sent, so it only looks it.
    for (const button of form.querySelectorAll("[type=submit]")) {
      button.classList.add("is-busy");
      button.setAttribute("aria-disabled", "true");
    }
  });

  // Back from the next page, the browser shows this one as it was left.
  window.addEventListener("pageshow", function () {
    for (const form of document.querySelectorAll("form[data-once]")) {
      delete form.dataset.sent;
      for (const button of form.querySelectorAll("[type=submit]")) {
        button.classList.remove("is-busy");
        button.removeAttribute("aria-disabled");
      }
    }
  });

  // --- copy buttons ---

  function copy(text) {
    if (navigator.clipboard && window.isSecureContext) {
      return navigator.clipboard.writeText(text);
    }
    // Plain HTTP on a private network has no clipboard API.
    const area = document.createElement("textarea");
    area.value = text;
    area.className = "visually-hidden";
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done ? Promise.resolve() : Promise.reject(new Error("not copied"));
  }

  document.addEventListener("click", function (event) {
    const button = event.target instanceof Element ? event.target.closest("[data-copy]") : null;
    if (!button) {
      return;
    }
    const source = document.getElementById(button.dataset.copy);
    const label = button.textContent;
    copy("value" in source ? source.value : source.textContent).then(
      function () {
        button.textContent = button.dataset.copied;
        setTimeout(function () {
          button.textContent = label;
        }, 2000);
      },
      function () {
        if ("select" in source) {
          source.select();
        }
      },
    );
  });

  // --- the counter under a message: the same rules as linkit/encoding.py ---

  const BASIC = new Set(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?" +
      "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà",
  );
  const EXTENSION = new Set("^{}\\[~]|€\f");

  function parts(text) {
    const characters = Array.from(text);
    const isGsm = characters.every((c) => BASIC.has(c) || EXTENSION.has(c));
    const units = characters.map((c) => (isGsm ? (EXTENSION.has(c) ? 2 : 1) : c.length));
    const single = isGsm ? 160 : 70;
    const each = isGsm ? 153 : 67;
    let count = 1;
    if (units.reduce((sum, unit) => sum + unit, 0) > single) {
      let used = 0;
      for (const unit of units) {
        if (used + unit > each) {
          count += 1;
          used = 0;
        }
        used += unit;
      }
    }
    const odd = isGsm ? undefined : characters.find((c) => !BASIC.has(c) && !EXTENSION.has(c));
    return { characters: characters.length, encoding: isGsm ? "GSM-7" : "UCS-2", count, odd };
  }

  for (const area of document.querySelectorAll("textarea[data-counter]")) {
    const output = document.getElementById(area.dataset.counter);
    const tell = function () {
      const found = parts(area.value);
      const number = function (value) {
        const isolated = document.createElement("bdi");
        isolated.dir = "ltr";
        isolated.textContent = String(value);
        return isolated;
      };
      output.replaceChildren(number(found.characters), found.characters === 1 ? " character · " : " characters · ");
      output.append(number(found.encoding), " · ", number(found.count), found.count === 1 ? " part" : " parts");
      if (found.odd !== undefined) {
        output.append(" · “", number(found.odd), "” is not in the GSM alphabet");
      }
      output.classList.toggle("is-over", found.count > 10 || found.characters > 1600);
    };
    area.addEventListener("input", tell);
    tell();
  }

  // --- a file that is larger than the server takes is said before it is uploaded ---

  document.addEventListener("change", function (event) {
    const input = event.target;
    if (input instanceof HTMLInputElement && input.dataset.maxBytes && input.files.length) {
      const isTooLarge = input.files[0].size > Number(input.dataset.maxBytes);
      input.setCustomValidity(isTooLarge ? input.dataset.tooLarge : "");
      input.reportValidity();
    }
  });

  // --- the page of a bulk job follows its figures while it is under way ---

  const EVERY = 2000;
  const TRIES = 5; // that fail in a row, before the page says that it does not follow any more

  function number(value) {
    return value.toLocaleString("en", { maximumFractionDigits: 2 });
  }

  // The same words as outbox.console.duration.
  function duration(seconds) {
    if (seconds < 60) {
      return seconds + " s";
    }
    const minutes = Math.ceil(seconds / 60);
    return minutes < 60 ? minutes + " min" : Math.floor(minutes / 60) + " h " + (minutes % 60) + " min";
  }

  function follow(page) {
    const note = page.querySelector("[data-following]");
    const without = note.textContent;
    let failed = 0;
    note.textContent = note.dataset.following;

    function show(figures) {
      const total = Math.max(1, figures.total);
      const shown = { ...figures, percent: Math.floor(((figures.total - figures.pending) * 100) / total) };
      for (const place of page.querySelectorAll("[data-progress]")) {
        const value = shown[place.dataset.progress];
        const isTime = place.dataset.progress === "eta_seconds";
        place.textContent = value === null ? "–" : isTime ? duration(value) : number(value);
      }
      let start = 0;
      for (const slice of page.querySelectorAll("[data-slice]")) {
        const width = Math.floor((figures[slice.dataset.slice] * 1000) / total);
        slice.setAttribute("x", start);
        slice.setAttribute("width", width);
        start += width;
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
