/**
 * Which package source an installation asks, and whether it answers. Knows no editor.
 */
import type { Run } from './makers.ts';
import type { Maker } from './plan.ts';

const PYPI = 'https://pypi.org/simple/';
const ANSWER_MS = 10_000;

/** The source's address; null where uv chooses it, which names one that fails by itself. */
export async function sourceOf(configured: string, maker: Maker, run: Run): Promise<string | null> {
  if (configured !== '') return configured;
  if (maker.kind === 'uv') return null;
  const { printed } = await run(maker.program, ['-m', 'pip', 'config', 'list']);
  const named = [':env:', 'install', 'global'].map(
    (section) => new RegExp(`^${section}\\.index-url='([^']+)'`, 'm').exec(printed)?.[1],
  );
  return named.find((address) => address !== undefined) ?? PYPI;
}

/** Whether a server answers there, whatever it says of the page. */
export async function answers(address: string): Promise<boolean> {
  try {
    const { status } = await fetch(address, {
      method: 'HEAD',
      signal: AbortSignal.timeout(ANSWER_MS),
    });
    return status < 500;
  } catch {
    return false;
  }
}
