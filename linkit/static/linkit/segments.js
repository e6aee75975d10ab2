/* SMS encodings and segments while somebody types: the rules of linkit/encoding.py, which decide. Needs no page. */
"use strict";

const smsSegments = (function () {
  const BASIC = new Set(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?" +
      "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà",
  );
  const EXTENSION = new Set("^{}\\[~]|€\f");

  function isOutside(character) {
    return !BASIC.has(character) && !EXTENSION.has(character);
  }

  // Neighbours that are all in the GSM alphabet, or all outside of it; a blank that is outside has its own run.
  function runsOf(characters) {
    const runs = [];
    let before;
    for (const character of characters) {
      const kind = !isOutside(character) ? "inside" : /\p{Z}/u.test(character) ? "blank" : "outside";
      if (kind === before) {
        runs[runs.length - 1].text += character;
      } else {
        runs.push({ text: character, isOutside: kind !== "inside" });
      }
      before = kind;
    }
    return runs;
  }

  /* Returns the encoding, the count of segments, that of characters, the units that are left in the last segment,
     and the text in runs. A character is a code point, as in Python; an emoji takes two units. */
  return function (text) {
    const characters = Array.from(text);
    const isGsm = !characters.some(isOutside);
    const isExtended = isGsm && characters.some((character) => EXTENSION.has(character));
    const [single, each] = isGsm ? [160, 153] : [70, 67];
    const units = characters.map((character) => (isGsm ? (EXTENSION.has(character) ? 2 : 1) : character.length));
    const total = units.reduce((sum, unit) => sum + unit, 0);
    let count = 1;
    let used = total;
    if (total > single) {
      used = 0;
      for (const unit of units) {
        if (used + unit > each) {
          count += 1; // an escape and a surrogate pair stay whole
          used = 0;
        }
        used += unit;
      }
    }
    return {
      encoding: isGsm ? (isExtended ? "GSM-7 Extended" : "GSM-7") : "UCS-2",
      count,
      characters: characters.length,
      left: (count === 1 ? single : each) - used,
      runs: runsOf(characters),
    };
  };
})();
