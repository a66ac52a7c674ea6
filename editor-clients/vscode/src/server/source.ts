/**
 * Which package source an installation asks, and whether it answers. Knows no editor.
 */
import type { Run } from './makers.ts';
import type { Maker } from './plan.ts';

const ANSWER_MS = 10_000;

/** The source's address; null where uv chooses it, which names one that fails by itself.
 *
 * Pip's help is the one public place that states the source in force, the built-in one too; it
 * wraps lines within the address.
 */
export async function sourceOf(configured: string, maker: Maker, run: Run): Promise<string | null> {
  if (configured !== '') return configured;
  if (maker.kind === 'uv') return null;
  const { printed } = await run(maker.program, ['-m', 'pip', 'install', '--help']);
  const stated = /--index-url <url>[^(]*\(default([^)]*)\)/.exec(printed)?.[1];
  return stated?.replace(/\s+/g, '') ?? null;
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
