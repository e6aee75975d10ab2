/* "Send one": what is typed is counted and marked here; what it costs and the provider's senders are asked for. */
"use strict";

(function () {
  const form = document.getElementById("send-one");
  if (!form) {
    return;
  }
  const PAUSE = 400; // milliseconds without a key before anything is asked or said
  const NAMED = 8; // characters that are named besides being marked; as many as quoting.py names
  const SHOWN = 12; // sender names that stand beside the field; the rest is in its list
  const HIDDEN = /^[\p{Z}\p{C}\p{M}]+$/u; // nothing of these would be seen by itself; as in quoting.py

  const { app, recipient, sender_id: sender, text } = form.elements;
  const place = (id) => document.getElementById(id);
  const live = form.querySelector(".send-live");

  function isolated(content) {
    const element = document.createElement("bdi");
    element.dir = "ltr";
    element.textContent = content;
    return element;
  }

  function codePoint(character) {
    return "U+" + character.codePointAt(0).toString(16).toUpperCase().padStart(4, "0");
  }

  function later(task) {
    let timer;
    return function () {
      clearTimeout(timer);
      timer = setTimeout(task, PAUSE);
    };
  }

  // --- the text ---

  function marked(run) {
    if (!run.isOutside) {
      return run.text;
    }
    const mark = document.createElement("mark");
    if (HIDDEN.test(run.text)) {
      mark.className = "is-hidden";
      mark.append(isolated(Array.from(run.text, codePoint).join(" ")));
    } else {
      mark.textContent = run.text;
    }
    return mark;
  }

  function named(character) {
    const name = isolated(codePoint(character));
    if (!HIDDEN.test(character)) {
      const mark = document.createElement("mark");
      mark.textContent = character;
      name.prepend(mark, " ");
    }
    return name;
  }

  function count() {
    const found = smsSegments(text.value);
    const outside = found.runs.filter((run) => run.isOutside);
    const characters = new Set(outside.flatMap((run) => Array.from(run.text)));
    place("send-encoding").textContent = found.encoding;
    place("send-characters").textContent = found.characters;
    place("send-parts").textContent = found.count;
    place("send-left").textContent = found.left;
    place("send-left").closest("div").hidden = false;
    place("send-preview").replaceChildren(...found.runs.map(marked));
    place("send-preview").hidden = !text.value;

    place("send-outside").hidden = !outside.length;
    const hasMore = characters.size > NAMED;
    const first = Array.from(characters).slice(0, NAMED);
    place("send-named").replaceChildren(...first.flatMap((character) => [named(character), " "]), hasMore ? "…" : "");
    const plain = found.runs.map((run) => (run.isOutside ? "?".repeat(Array.from(run.text).length) : run.text));
    const without = smsSegments(plain.join("")).count;
    place("send-parts-without").textContent = without;
    // Of a text in another script it would be no help to know.
    place("send-parts-without").closest("div").hidden = hasMore || without === found.count;

    const isOver =
      found.count > Number(live.dataset.mostParts) || found.characters > Number(live.dataset.mostCharacters);
    live.classList.toggle("is-over", isOver);
    place("send-over").hidden = !isOver;
  }

  // What is seen, as one sentence for those who hear it.
  function say() {
    const facts = Array.from(live.querySelectorAll("dl:not([hidden]) > div:not([hidden])"), function (fact) {
      return fact.querySelector("dt").textContent + ": " + fact.querySelector("dd").textContent.trim();
    });
    const over = place("send-over");
    place("send-spoken").textContent = facts.concat(over.hidden ? [] : over.textContent.trim()).join(" · ");
  }

  // --- the cost, which only the server knows ---

  let asked;

  async function ask() {
    asked?.abort(); // its answer would be about another text
    const question = (asked = new AbortController());
    const shown = place("send-cost");
    try {
      const answer = await fetch(form.dataset.cost, {
        method: "POST",
        body: costed(),
        headers: { Accept: "application/json" },
        redirect: "error",
        signal: question.signal,
      });
      const cost = await answer.json();
      shown.textContent = cost.cost ?? cost.error;
      shown.classList.toggle("is-lacking", Boolean(cost.is_lacking));
    } catch {
      if (question.signal.aborted) {
        return;
      }
      shown.textContent = shown.dataset.failed;
    }
    say();
  }

  function costed() {
    const given = new FormData();
    for (const name of ["csrfmiddlewaretoken", "organization", "app", "recipient", "text"]) {
      given.set(name, form.elements[name].value);
    }
    return given;
  }

  // --- the provider's sender names ---

  const note = place("senders-note");
  const offered = place("senders-names");
  const choices = place("sender-choices");
  const own = Array.from(choices.children).slice();
  let wanted;

  function offer(names) {
    choices.replaceChildren(...own);
    offered.replaceChildren();
    const listed = new Set(own.map((option) => option.value));
    names.forEach(function (name, position) {
      if (!listed.has(name)) {
        const option = document.createElement("option");
        option.value = name;
        choices.append(option);
      }
      if (position < SHOWN) {
        const button = document.createElement("button");
        button.type = "button";
        button.className = "sender-name";
        button.dir = "auto";
        button.textContent = name;
        button.addEventListener("click", function () {
          sender.value = name;
          sender.focus();
        });
        offered.append(button);
      }
    });
  }

  async function loadSenders() {
    wanted?.abort();
    offer([]);
    const isApp = /^\d+$/.test(app.value); // of any app there is nobody to ask
    note.parentElement.hidden = !isApp;
    note.textContent = isApp ? note.dataset.asking : "";
    if (!isApp) {
      return;
    }
    const question = (wanted = new AbortController());
    try {
      const answer = await fetch(form.dataset.senders + "?app=" + app.value, {
        headers: { Accept: "application/json" },
        redirect: "error",
        signal: question.signal,
      });
      const found = await answer.json();
      note.textContent = found.note ?? found.error;
      offer(found.names ?? []);
    } catch {
      if (!question.signal.aborted) {
        note.textContent = note.dataset.failed;
      }
    }
  }

  const askLater = later(ask);
  text.addEventListener("input", count);
  text.addEventListener("input", askLater);
  recipient.addEventListener("input", askLater);
  app.addEventListener("change", ask);
  app.addEventListener("change", loadSenders);
  // Back from the next page, the browser fills in what was typed.
  window.addEventListener("pageshow", function () {
    count();
    ask();
    loadSenders();
  });
})();
