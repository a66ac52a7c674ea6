/**
 * Runs programs to their end, and looks for a Python. Knows no editor.
 */
import { spawn } from 'node:child_process';

const PROBE_MS = 10_000;

export interface Ended {
  ok: boolean;
  /** Everything that it printed, on both outputs. */
  printed: string;
}

/** Runs a program; one that cannot be started is an end that is not ok. */
export function runProgram(
  program: string,
  args: readonly string[],
  onLine: (line: string) => void = () => undefined,
  signal: AbortSignal = AbortSignal.timeout(PROBE_MS),
): Promise<Ended> {
  return new Promise((resolve) => {
    let printed = '';
    const child = spawn(program, args, {
      signal,
      stdio: ['ignore', 'pipe', 'pipe'],
      windowsHide: true,
    });
    const take = (chunk: Buffer): void => {
      const text = chunk.toString();
      printed += text;
      text
        .split('\n')
        .filter((line) => line.trim() !== '')
        .forEach(onLine);
    };
    child.stdout.on('data', take);
    child.stderr.on('data', take);
    child.on('error', (error) => {
      resolve({ ok: false, printed: `${printed}\n${error.message}` });
    });
    child.on('close', (code) => {
      resolve({ ok: code === 0, printed });
    });
  });
}
