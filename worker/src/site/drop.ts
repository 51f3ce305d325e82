// Files dropped anywhere on the page, or pasted.

import { find } from "./page";

export function receiveFiles(receive: (files: File[]) => void): void {
  const curtain = find("drop");
  // Each crossed element fires enter, then leave.
  let depth = 0;
  const show = (change: number) => {
    depth = Math.max(0, depth + change);
    curtain.classList.toggle("shown", depth > 0);
  };
  const hasFiles = (event: DragEvent) => event.dataTransfer?.types.includes("Files") ?? false;

  addEventListener("dragenter", (event) => hasFiles(event) && show(1));
  addEventListener("dragleave", (event) => hasFiles(event) && show(-1));
  addEventListener("dragover", (event) => {
    if (hasFiles(event)) event.preventDefault();
  });
  addEventListener("drop", (event) => {
    if (!event.dataTransfer || !hasFiles(event)) return;
    // Otherwise the browser would open the file.
    event.preventDefault();
    show(-depth);
    receive(filesOf(event.dataTransfer));
  });
  addEventListener("paste", ({ clipboardData }) => {
    if (clipboardData?.files.length) receive([...clipboardData.files]);
  });
}

/**
 * Folders appear as unreadable files. They are passed on as empty files, which
 * are rejected with a row each.
 */
function filesOf(data: DataTransfer): File[] {
  return [...data.items].flatMap((item) => {
    const file = item.getAsFile();
    if (!file) return [];
    return item.webkitGetAsEntry()?.isDirectory ? [new File([], file.name)] : [file];
  });
}
