// Words as a search compares them. Pure; the site uses it too.

import type { Words } from "./api";

/**
 * What changes no word: accents, the points of Hebrew (between which is its punctuation) and
 * Arabic, lines that widen Arabic words, soft hyphens, and what selects how an emoji is drawn.
 */
const marks = /[\u0300-\u036f\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u064b-\u065f\u0670\u0640\xad\p{VS}]/gu;
/** Letters whose stroke is no mark of its own in Unicode, and ligatures. */
const plain: Record<string, string> = { Æ: "AE", Ð: "D", Đ: "D", Ħ: "H", Ł: "L", Ø: "O", Œ: "OE", Þ: "TH", ẞ: "SS" };
/** Chinese and Japanese have no spaces: each character is a word. */
const alone = /[\p{sc=Han}\p{sc=Hiragana}\p{sc=Katakana}]\p{M}*/gu;
/** The first alternative is the second one's for words in ASCII alone, at a third of the time; flags are two letters. */
const word = /[A-Z0-9]+(?![A-Z0-9\u0080-\u{10ffff}])|[\p{L}\p{M}\p{N}]+|\p{Extended_Pictographic}|\p{RI}{2}/gu;

/**
 * The words of a text, each once, without case and accents: only letters, digits and
 * emoji. Upper case, because ß has two letters in it, and σ no second form.
 */
export function wordsIn(text: string): string[] {
  const folded = text
    .normalize("NFKD")
    .replace(marks, "")
    .toUpperCase()
    .replace(/[ÆÐĐĦŁØŒÞẞ]/g, (letter) => plain[letter] ?? letter)
    .replace(alone, " $& ");
  return [...new Set(folded.match(word))];
}

/** All words that people have written about an image. */
export function wordsOf({ title, alt, caption, tags }: Words): string[] {
  return wordsIn([title, alt, caption, ...tags].join("\n"));
}

/** Whether each word that is looked for begins one of an image's. */
export function matches(image: Words, wanted: readonly string[]): boolean {
  const words = wordsOf(image);
  return wanted.every((start) => words.some((word) => word.startsWith(start)));
}
