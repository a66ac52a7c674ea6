/**
 * How much of a suggestion stands in the text after a part of it was accepted. Pure; counts in
 * UTF-16 units, as VS Code and the server's notification do.
 */

/** A suggestion on show: `text` belongs at offset `start` of the document. */
export interface OnShow {
  id: string;
  text: string;
  start: number;
}

/** Units of `shown` between its start and a cursor at `offset`; 0 where they are not its own. */
export function acceptedUnits(shown: OnShow, offset: number, document: string): number {
  const units = offset - shown.start;
  if (units <= 0) return 0;
  const now = document.slice(shown.start, offset).replaceAll('\r\n', '\n');
  return shown.text.replaceAll('\r\n', '\n').startsWith(now) ? now.length : 0;
}
