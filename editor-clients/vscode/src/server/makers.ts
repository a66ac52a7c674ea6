/**
 * Finds what can make a managed environment: uv, else a Python that is new enough.
 */
import { type Maker, pythons } from './plan.ts';
import { isNewEnough, pythonTrouble } from './trouble.ts';

const ASK_VERSION = 'import sys; print(*sys.version_info[:2], sep="."); print(sys.executable)';

/** Runs a program to its end. */
export type Run = (program: string, args: string[]) => Promise<{ ok: boolean; printed: string }>;

/**
 * The maker to use. A Python that the user named goes before uv.
 *
 * @throws Trouble: there is none that will do.
 */
export async function findMaker(
  configured: string,
  platform: NodeJS.Platform,
  run: Run,
): Promise<Maker> {
  if (configured === '' && (await run('uv', ['--version'])).ok) {
    return { kind: 'uv', program: 'uv' };
  }
  const found: string[] = [];
  for (const [program, before] of pythons(configured, platform)) {
    const { ok, printed } = await run(program, [...before, '-c', ASK_VERSION]);
    const [version = '', executable = ''] = printed.trim().split(/\r?\n/);
    if (!ok || !/^\d+\.\d+$/.test(version)) continue;
    if (isNewEnough(version)) return { kind: 'python', program: executable };
    found.push(version);
  }
  throw pythonTrouble(found);
}
