// When a photo was taken, from its EXIF data into that of a copy: a canvas writes none.

const original = 0x9003; // DateTimeOriginal
const zone = 0x9011; // OffsetTimeOriginal
const pointer = 0x8769; // in the first directory, to the one that has these

/** Returns a copy (JPEG) that says when the photo (JPEG or HEIC) was taken, if that does. */
export function withDate(copy: Blob, photo: ArrayBuffer): Blob {
  const segment = segmentOf(datesIn(photo));
  // Behind the two bytes that begin each JPEG.
  return segment === null ? copy : new Blob([copy.slice(0, 2), segment, copy.slice(2)], { type: copy.type });
}

/** The text of each tag that is there. */
function datesIn(photo: ArrayBuffer): Map<number, string> {
  const dates = new Map<number, string>();
  const text = new TextDecoder("latin1").decode(photo);
  const at = text.search(/Exif\0\0(II\*\0|MM\0\*)/) + 6;
  if (at < 6) return dates;
  const tiff = new DataView(photo, at);
  const little = text[at] === "I";
  /** What an entry of a directory has as its value; 0 if there is none. */
  const valueOf = (directory: number, tag: number): number => {
    for (let n = tiff.getUint16(directory, little); n > 0; n--) {
      const entry = directory + 12 * n - 10;
      if (tiff.getUint16(entry, little) === tag) return tiff.getUint32(entry + 8, little);
    }
    return 0;
  };
  try {
    const directory = valueOf(tiff.getUint32(4, little), pointer);
    for (const [tag, pattern] of [
      [original, /^\d{4}(:\d\d){2} \d\d(:\d\d){2}\0/],
      [zone, /^[+-]\d\d:\d\d\0/],
    ] as const) {
      const start = directory && at + valueOf(directory, tag);
      const [date] = pattern.exec(text.slice(start, start + 20)) ?? [];
      if (date) dates.set(tag, date);
    }
  } catch {
    // It points to what is not there.
  }
  return dates;
}

/** An EXIF segment with these tags; null without a date. */
function segmentOf(dates: ReadonlyMap<number, string>): Uint8Array<ArrayBuffer> | null {
  if (!dates.has(original)) return null;
  const two = (n: number) => String.fromCharCode(n >> 8, n & 0xff);
  const four = (n: number) => two(n >> 16) + two(n & 0xffff);
  const directory = (entries: string[]) => two(entries.length) + entries.join("") + four(0);
  const first = `MM\0*${four(8)}${directory([two(pointer) + two(4) + four(1) + four(26)])}`;
  let at = first.length + 6 + 12 * dates.size;
  const entries = [...dates].map(([tag, date]) => {
    at += date.length;
    return two(tag) + two(2) + four(date.length) + four(at - date.length);
  });
  const exif = `Exif\0\0${first}${directory(entries)}${[...dates.values()].join("")}`;
  return Uint8Array.from(`\xff\xe1${two(exif.length + 2)}${exif}`, (c) => c.charCodeAt(0));
}
