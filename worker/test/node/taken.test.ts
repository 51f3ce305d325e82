// The date of a photo in a smaller copy of it. (That the daemon reads it there:
// test/browser/smaller.test.ts.)

import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { withDate } from "../../src/site/taken";
import { photoFolder } from "./daemon";

const copy = new Blob([Uint8Array.of(0xff, 0xd8, 0xff, 0xd9)], { type: "image/jpeg" });

async function photo(name: string): Promise<ArrayBuffer> {
  return new Uint8Array(await readFile(join(photoFolder(), name))).buffer;
}

/** The texts of the EXIF segment that a copy of the photo gets. */
async function dates(photo: ArrayBuffer): Promise<string[]> {
  const dated = withDate(copy, photo);
  if (dated === copy) return [];
  expect(dated.type).toBe("image/jpeg");
  const bytes = Buffer.from(await dated.arrayBuffer());
  const [, length = "", exif = ""] =
    /^\xff\xd8\xff\xe1(..)Exif\0\0(MM\0\*.*)\xff\xd9$/s.exec(bytes.toString("latin1")) ?? [];
  // The segment ends where the rest of the copy begins.
  expect(Buffer.from(length, "latin1").readUInt16BE()).toBe(2 + 6 + exif.length);
  // What it says is what is read from it.
  const again = Buffer.from(await withDate(copy, await dated.arrayBuffer()).arrayBuffer());
  expect(again.equals(bytes)).toBe(true);
  return exif.match(/[\d:+-]{6,} ?[\d:]*(?=\0)/g) ?? [];
}

test.each([
  ["test_exif_full.jpg", ["2020:07:28 19:18:49", "+03:00"]],
  ["test_exif.jpg", ["2014:09:21 16:00:56"]],
  ["test_exif_canon.jpg", ["2008:05:30 15:56:01"]], // not that of the last change
  ["test.heic", ["2019:09:24 11:41:52", "-07:00"]],
  ["test2.heic", []],
  ["test_square.jpg", []],
])("%s", async (name, expected) => {
  expect(await dates(await photo(name))).toEqual(expected);
});

test("wherever it is damaged, a copy is made, with a date or without", async () => {
  const whole = new Uint8Array(await photo("test_exif_full.jpg")).subarray(0, 2000);
  const at = Buffer.from(whole).indexOf("Exif\0\0");
  for (let n = at; n < at + 600; n++) {
    for (const value of [0, 0xff]) {
      const damaged = whole.slice();
      damaged[n] = value;
      await dates(damaged.buffer);
    }
    await dates(whole.slice(0, n).buffer);
  }
});
