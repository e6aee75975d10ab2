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

  // --- a file that is larger than the server takes is said before it is uploaded ---

  document.addEventListener("change", function (event) {
    const input = event.target;
    if (input instanceof HTMLInputElement && input.dataset.maxBytes && input.files.length) {
      const isTooLarge = input.files[0].size > Number(input.dataset.maxBytes);
      input.setCustomValidity(isTooLarge ? input.dataset.tooLarge : "");
      input.reportValidity();
    }
  });

  // --- a table that is wider than its place is scrolled by the keyboard too ---

  for (const place of document.querySelectorAll(".results, .wide-table")) {
    if (place.scrollWidth > place.clientWidth || place.scrollHeight > place.clientHeight) {
      place.tabIndex = 0;
    }
  }
})();
