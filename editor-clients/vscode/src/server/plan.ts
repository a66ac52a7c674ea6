/**
 * How a managed environment is made: the programs to run, in order. Pure.
 */
import path from 'node:path';
import { MINIMUM_PYTHON } from './trouble.ts';

/** What makes the environment: uv, which brings a Python of its own, or a Python. */
export type Maker = { kind: 'uv'; program: string } | { kind: 'python'; program: string };

export interface Source {
  /** What to install, as pip reads it; empty for the version that fits, from `indexUrl`. */
  package: string;
  indexUrl: string;
  extraIndexUrl: string;
  /** Whether torch and what training needs is installed too. */
  training: boolean;
}

export interface Step {
  says: string;
  program: string;
  args: string[];
}

/**
 * Whether it is said where the server comes from. On the public index its name is another
 * project's, so that it is never asked for there unasked.
 */
export function isNamed({
  package: what,
  indexUrl,
}: Pick<Source, 'package' | 'indexUrl'>): boolean {
  return what !== '' || indexUrl !== '';
}

/** The steps that make the environment in `folder`, which does not exist yet. */
export function steps(
  maker: Maker,
  folder: string,
  source: Source,
  version: string,
  platform: NodeJS.Platform,
): Step[] {
  const python = path.join(
    programsOf(folder, platform),
    platform === 'win32' ? 'python.exe' : 'python',
  );
  const what = requirement(source, version);
  const from = indexes(source);
  const making = { says: 'Making an environment', program: maker.program };
  const installing = { says: `Installing ${what}` };
  if (maker.kind === 'uv') {
    return [
      { ...making, args: ['venv', '--python', `>=${MINIMUM_PYTHON}`, folder] },
      {
        ...installing,
        program: maker.program,
        args: ['pip', 'install', '--python', python, ...from, what],
      },
    ];
  }
  const quiet = ['--disable-pip-version-check', '--no-input', '--progress-bar', 'off'];
  return [
    { ...making, args: ['-m', 'venv', folder] },
    { ...installing, program: python, args: ['-m', 'pip', 'install', ...quiet, ...from, what] },
  ];
}

/** Where an environment has its programs. */
export function programsOf(folder: string, platform: NodeJS.Platform): string {
  return path.join(folder, platform === 'win32' ? 'Scripts' : 'bin');
}

function requirement(source: Source, version: string): string {
  if (source.package !== '') return source.package;
  const [major = '0', minor = '0'] = version.split('.');
  return `neuralforge${source.training ? '[train]' : ''}~=${major}.${minor}.0`;
}

function indexes({ indexUrl, extraIndexUrl }: Source): string[] {
  return [
    ...(indexUrl === '' ? [] : ['--index-url', indexUrl]),
    ...(extraIndexUrl === '' ? [] : ['--extra-index-url', extraIndexUrl]),
  ];
}

/** Programs to look for, the likeliest to be new enough first; each with the arguments before -c. */
export function pythons(configured: string, platform: NodeJS.Platform): [string, string[]][] {
  if (configured !== '') return [[configured, []]];
  const minors = [14, 13, 12, 11].map((minor): [string, string[]] => [`python3.${minor}`, []]);
  const usual: [string, string[]][] = [
    ['python3', []],
    ['python', []],
  ];
  return platform === 'win32' ? [['py', ['-3']], ...usual] : [...usual, ...minors];
}
