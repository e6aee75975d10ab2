// Makes segment_vectors.json: texts, and how many segments two published calculators say that each takes.
//
// In an empty folder outside the repository:
//
//     npm install sms-segments-calculator@1.3.0 split-sms@0.1.7
//     node path/to/tests/linkit/segment_vectors.mjs > path/to/tests/linkit/segment_vectors.json
//
// The packages are taken from the folder it is run in. The same seed and versions make the same file.

import { createRequire } from "node:module";

const SEED = 23040;
const AGREED = 900; // texts on which the calculators say the same
const DISAGREED = 60; // and on which they do not

const load = createRequire(`${process.cwd()}/`);
const { SegmentedMessage } = load("sms-segments-calculator");
const splitSms = load("split-sms");
const calculators = ["sms-segments-calculator", "split-sms"];

// Each calculator's answer: the encoding in our words, and the segments. Neither has a name for a text with escapes;
// both tell how many septets it takes.
const ask = {
  "sms-segments-calculator": (text) => {
    const message = new SegmentedMessage(text);
    const { encodingName, segmentsCount, encodedChars, numberOfCharacters } = message;
    const narrow = numberOfCharacters > encodedChars.length ? "GSM-7 Extended" : "GSM-7";
    return [encodingName === "GSM-7" ? narrow : encodingName, segmentsCount];
  },
  "split-sms": (text) => {
    const { characterSet, bytes, length, parts } = splitSms.split(text);
    const narrow = bytes > length ? "GSM-7 Extended" : "GSM-7";
    return [characterSet === "GSM" ? narrow : "UCS-2", parts.length];
  },
};

// Mulberry32: small, seeded, the same everywhere.
let state = SEED;
function random() {
  state = (state + 0x6d2b79f5) | 0;
  let t = Math.imul(state ^ (state >>> 15), 1 | state);
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
  return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
}
const integer = (low, high) => low + Math.floor(random() * (high - low + 1));
const pick = (list) => list[integer(0, list.length - 1)];
const range = (first, last) => Array.from({ length: last - first + 1 }, (_, i) => String.fromCodePoint(first + i));

const ESCAPED = [..."^{}\\[~]|€\f"];
const ASTRAL = [..."😀👍🎉🔥🚀🛒📦🕌𝒜𠮷𐍈"];
const SEQUENCES = ["👨‍👩‍👧‍👦", "🏳️‍🌈", "👩🏽‍💻", "🇸🇦", "🇦🇪", "👍🏿", "❤️", "1️⃣", "🧑‍🤝‍🧑"];

const LATIN = [..."abcdefghijklmnopqrstuvwxyz ABCDEFGHIJKLMNOPQRSTUVWXYZ 0123456789 .,:!?"];
const GSM = [...LATIN, ..."@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ\"#¤%&'()*+-/;<=>¡ÄÖÑÜ§¿äöñüà"];
const ARABIC = [...range(0x621, 0x63a), ...range(0x641, 0x64a), ..."  ،؟٠١٢٣٤٥٦٧٨٩"];

// Each kind: the characters of one unit, and what is put where segments end.
const KINDS = {
  gsm: { singles: GSM, wide: [] },
  escapes: { singles: GSM, wide: ESCAPED },
  escapesOnly: { singles: ESCAPED, wide: ESCAPED },
  accents: { singles: [...LATIN, ..."áâãçêëíîïóôõúûýčďěňřšťůžłąęśźőű‘’“”–—…\u00a0"], wide: [...ESCAPED, ...ASTRAL] },
  arabic: { singles: ARABIC, wide: ASTRAL },
  hebrew: { singles: [...range(0x5d0, 0x5ea), " ", "״", "׳"], wide: ASTRAL },
  cyrillic: { singles: [...range(0x410, 0x44f), ..."ёЁіїєґ  ,."], wide: ASTRAL },
  greek: { singles: [...range(0x391, 0x3a1), ...range(0x3a3, 0x3c9), ..."άέήίόύώ  "], wide: ASTRAL },
  cjk: { singles: [...range(0x4e00, 0x4eff), ...range(0x3041, 0x3093), ..."。、「」"], wide: ASTRAL },
  hangul: { singles: [...range(0xac00, 0xacff), " "], wide: ASTRAL },
  devanagari: { singles: [...range(0x905, 0x939), " ", "।"], wide: ASTRAL },
  thai: { singles: [...range(0xe01, 0xe2e), " "], wide: ASTRAL },
  emoji: { singles: [...LATIN, ..."☀☎✅✈"], wide: ASTRAL, often: true },
  emojiOnly: { singles: ASTRAL, wide: [] },
  mixture: { singles: [...GSM, ...ARABIC, ...ESCAPED, ..."你好Приветשלום"], wide: [...ASTRAL, ...ESCAPED] },
  // The last ones have characters that a reader sees as one with what stands before them.
  joined: { singles: [...LATIN, ...ARABIC], wide: SEQUENCES },
  harakat: { singles: [...ARABIC, ...range(0x64b, 0x652)], wide: ASTRAL },
  indicMarks: { singles: [...range(0x905, 0x939), ...range(0x93e, 0x94d)], wide: SEQUENCES },
  thaiMarks: { singles: [...range(0xe01, 0xe3a), ...range(0xe40, 0xe4e)], wide: SEQUENCES },
  combining: { singles: [...LATIN, "\u0301", "\u0308", "\u0327"], wide: ESCAPED },
};

const isNarrow = (kind) => ["gsm", "escapes", "escapesOnly"].includes(kind);
const width = (kind, piece) => (isNarrow(kind) && ESCAPED.includes(piece) ? 2 : piece.length);

// A text whose length is at or near a border, with wide characters where its segments end.
function compose(kind) {
  const { singles, wide, often } = KINDS[kind];
  const [lone, segment] = isNarrow(kind) ? [160, 153] : [70, 67];
  const border = pick([lone, lone, segment, 2 * segment, 2 * segment, 3 * segment, 4 * segment]);
  const target = random() < 0.15 ? integer(0, 3 * segment) : border + integer(-3, 3);
  const isNearBorder = (at) => [lone, segment].some((size) => at % size < 2 || at % size >= size - 3);
  const pieces = [];
  for (let used = 0; used < target; ) {
    const isWide = wide.length > 0 && random() < (isNearBorder(used) ? 0.5 : often ? 0.4 : 0.01);
    const piece = pick(isWide ? wide : singles);
    pieces.push(piece);
    used += width(kind, piece);
  }
  return pieces.join("");
}

// Every character of the Basic Multilingual Plane that both calculators hold to be GSM-7.
function alphabet() {
  const found = { "GSM-7": "", "GSM-7 Extended": "" };
  for (let code = 0; code < 0x10000; code += 1) {
    const character = String.fromCharCode(code);
    const [first, second] = calculators.map((name) => ask[name](character)[0]);
    if (first !== second) throw new Error(`They disagree on U+${code.toString(16)}: ${first}, ${second}`);
    if (first in found) found[first] += character;
  }
  return found;
}

// The text with other characters, as wide, for marks, joiners, flags and skin tones: nothing is seen as one any more.
function apart(text) {
  return text.replace(/[\p{M}\u200d\u0e33]/gu, "ж").replace(/[\u{1f1e6}-\u{1f1ff}\u{1f3fb}-\u{1f3ff}]/gu, "😀");
}

const agreed = [];
const disagreed = [];
const kinds = Object.keys(KINDS).flatMap((kind) => (isNarrow(kind) ? [kind, kind, kind] : [kind]));
for (let turn = 0; agreed.length < AGREED || disagreed.length < DISAGREED; turn += 1) {
  const text = compose(kinds[turn % kinds.length]);
  const answers = calculators.map((name) => ask[name](text));
  const [[encoding, count], [other, otherCount]] = answers;
  if (encoding !== other) throw new Error(`They disagree on the encoding of ${JSON.stringify(text)}`);
  // The reason below, held for each of them.
  if (count < otherCount || ask[calculators[0]](apart(text))[1] !== otherCount) throw new Error(JSON.stringify(text));
  if (count === otherCount && agreed.length < AGREED) agreed.push([text, encoding, count]);
  if (count !== otherCount && disagreed.length < DISAGREED) disagreed.push([text, encoding, count, otherCount]);
}

const lines = (vectors) => `[\n${vectors.map((vector) => JSON.stringify(vector)).join(",\n")}\n]`;
const version = (name) => `${name} ${load(`${name}/package.json`).version}`;
const header = {
  made: `By segment_vectors.mjs, seed ${SEED}, which says how. Two calculators from npm were asked about random texts.`,
  calculators: [...calculators.map(version), `${version("grapheme-splitter")} (which the first one splits with)`],
  vectors_are: "[text, encoding, segments]: both calculators say so.",
  disagreements_are: `[text, encoding, segments by ${calculators[0]}, segments by ${calculators[1]}]`,
  reason: [
    "The first calculator never cuts what a reader sees as one character: a letter with its marks, an emoji joined",
    "from several, a flag. It moves all of it to the next segment, so these texts take one more. The second cuts",
    "between any two characters, and moves only an escape or a surrogate pair. TS 23.040 (9.2.3.24.1) lets a segment",
    "hold 67 UCS-2 characters and forbids to cut an escape sequence or a UCS-2 character. A mark or a joiner is a",
    "character of its own there. So the second is right: what the first one does is allowed, but nothing asks for it.",
  ].join(" "),
};
const fields = Object.entries({ ...header, alphabet: alphabet() }).map(
  ([name, value]) => `${JSON.stringify(name)}: ${JSON.stringify(value)}`,
);
fields.push(`"vectors": ${lines(agreed)}`, `"disagreements": ${lines(disagreed)}`);
process.stdout.write(`{\n${fields.join(",\n")}\n}\n`);
