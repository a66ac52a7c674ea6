/**
 * How adapters, stacks, bases and log rows read in pickers and in the tree. Pure.
 */
import type { AdapterRow, BaseRow, LogRow, StackEntry, StackRow } from '../protocol.ts';

export interface Row {
  label: string;
  description: string;
  detail: string;
}

/** `personal@v0003`, its base and scale, then what was measured of it. */
export function adapterRow(row: AdapterRow): Row {
  const marks = [
    row.base,
    ...(row.current ? ['current'] : []),
    ...(row.scale === null ? [] : [`loaded × ${scaleText(row.scale)}`]),
  ];
  const facts = [
    ...measured(row),
    ...(row.rank === null ? [] : [`rank ${row.rank}`]),
    sizeText(row.bytes),
    dayText(row.created),
  ];
  return {
    label: `${row.fits ? '$(layers)' : '$(circle-slash)'} ${row.adapter}`,
    description: marks.join(' · '),
    detail: row.fits ? facts.join(' · ') : 'made for another base: it cannot be loaded now',
  };
}

/** A named stack, what it means, and why it cannot be used where it cannot. */
export function stackRow(row: StackRow): Row {
  const usable = row.problem === '';
  const label = `${usable ? '$(list-ordered)' : '$(circle-slash)'} ${row.name}`;
  const description = [row.base, ...(row.in_force ? ['in force'] : [])].join(' · ');
  return { label, description, detail: usable ? stackText(row.adapters) : row.problem };
}

export function baseRow(row: BaseRow): Row {
  const icon =
    row.state === 'in use' ? '$(check)' : row.path === null ? '$(cloud-download)' : '$(database)';
  const facts = [sizeText(row.bytes), ...(row.licence === '' ? [] : [row.licence]), row.source];
  return { label: `${icon} ${row.name}`, description: row.state, detail: facts.join(' · ') };
}

/** A suggestion of the log: its first line, what became of it, where and when. */
export function logRow(row: LogRow): Row {
  const [line = ''] = row.text.trim().split('\n');
  const outcome = row.outcome?.replace('_', ' ') ?? 'open';
  const when = new Date(row.created * 1000).toLocaleString();
  return {
    label: line === '' ? '(blank)' : line,
    description: `${outcome} · ${Math.round(row.latency_ms)} ms`,
    detail: `${row.path ?? 'no file'}:${row.line + 1} · ${when}`,
  };
}

/** The stack in words; the first adapter lies at the bottom. */
export function stackText(stack: readonly StackEntry[]): string {
  if (stack.length === 0) return 'no adapters';
  return stack
    .map(({ adapter, scale }) => (scale === 1 ? adapter : `${adapter} × ${scaleText(scale)}`))
    .join(' + ');
}

export function scaleText(scale: number): string {
  return Number(scale.toFixed(2)).toString();
}

export function sizeText(bytes: number): string {
  if (bytes >= 1e9) return `${(bytes / 1e9).toFixed(1)} GB`;
  return bytes >= 1e6 ? `${(bytes / 1e6).toFixed(0)} MB` : `${(bytes / 1e3).toFixed(0)} kB`;
}

export function percentText(share: number): string {
  return `${(share * 100).toFixed(0)} %`;
}

function measured(row: { em: number | null; es: number | null }): string[] {
  return [
    ...(row.em === null ? [] : [`exact ${percentText(row.em)}`]),
    ...(row.es === null ? [] : [`similar ${percentText(row.es)}`]),
  ];
}

function dayText(created: number): string {
  return new Date(created * 1000).toLocaleDateString();
}
