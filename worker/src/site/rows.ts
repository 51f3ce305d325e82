// Lays out images of any aspect ratio in rows of equal width, uncropped and in
// order. Pure arithmetic.

export interface Box {
  width: number;
  height: number;
}

export interface Layout {
  boxes: Box[];
  /** Number of boxes in full-width rows. */
  inFullRows: number;
  /** Number of boxes in the first row. */
  inFirstRow: number;
}

// Panoramas and very tall images are cropped, or they would need a very low or
// very high row of their own.
const narrowest = 0.45;
const widest = 3;

/**
 * Fills row after row. A row is full if another image would move its height
 * further away from the target.
 */
export function layOut(ratios: readonly number[], width: number, gap: number): Layout {
  const target = 170 + width / 9;
  const shapes = ratios.map((ratio) => Math.min(widest, Math.max(narrowest, ratio)));
  const boxes: Box[] = [];
  let inFirstRow = 0;
  let row: number[] = [];
  const heightOf = (shapesOfRow: readonly number[]) =>
    (width - gap * (shapesOfRow.length - 1)) / shapesOfRow.reduce((sum, shape) => sum + shape, 0);
  const close = (height: number) => {
    // Rounded down, so that the sum never exceeds the row.
    for (const shape of row) boxes.push({ width: Math.floor(height * shape * 100) / 100, height });
    inFirstRow ||= row.length;
    row = [];
  };
  for (const shape of shapes) {
    if (row.length > 0) {
      const without = heightOf(row);
      const together = heightOf([...row, shape]);
      if (without <= target || without - target < target - together) close(without);
    }
    row.push(shape);
  }
  if (row.length > 0 && heightOf(row) <= target) close(heightOf(row));
  const inFullRows = boxes.length;
  if (row.length > 0) {
    // A nearly full row is stretched. Otherwise few images may be larger than
    // many, but need not fill the window.
    const height = heightOf(row);
    const most = inFullRows > 0 ? target : target * 1.4;
    close(height <= target * 1.25 ? height : Math.min(height, most));
  }
  return { boxes, inFullRows, inFirstRow };
}
