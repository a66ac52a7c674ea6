/**
 * What went wrong while the server was installed or started, and the step that mends it. Pure: it
 * reads what the programs printed.
 */

export const MINIMUM_PYTHON = '3.11';

/** A failure with its remedy, as the user reads it. */
export class Trouble extends Error {
  override readonly name = 'Trouble';
}

interface Known {
  /** What a program prints then. */
  pattern: RegExp;
  says: string;
}

const COMPILER =
  'On Debian and Ubuntu: sudo apt install build-essential cmake. On macOS: xcode-select --install. ' +
  'On Windows: Visual Studio Build Tools with C++.';

const UNREACHABLE =
  'The package source cannot be reached. Check the network (or name another source in the ' +
  'setting neuralforge.server.index_url), then install the server again.';

/** On this machine. */
const LOCAL: Known[] = [
  {
    pattern:
      /CMAKE_C(XX)?_COMPILER not set|No CMAKE_C(XX)?_COMPILER could be found|CMAKE_C(XX)?_COMPILER.*not a full path|error: Microsoft Visual C\+\+|command '(gcc|cc|clang|cl)[^']*' failed: (No such file|None)/i,
    says:
      'llama-cpp-python has no ready-made wheel for this machine, and there is no C++ compiler to ' +
      `build it with. Install a compiler, then install the server again. ${COMPILER} Or name a ` +
      'source of ready-made wheels in the setting neuralforge.server.extra_index_url.',
  },
  {
    pattern: /ensurepip is not available|No module named '?(venv|ensurepip)/,
    says:
      'This Python cannot make virtual environments. Install its venv package (on Debian and ' +
      'Ubuntu: sudo apt install python3-venv) or uv, then install the server again.',
  },
  {
    pattern: /No space left on device|ENOSPC|not enough space on the disk/i,
    says: 'The disk is full. Free some space, then install the server again.',
  },
  {
    pattern: /Permission denied|EACCES|EROFS|Read-only file system|Access is denied/i,
    says:
      'The editor’s storage folder cannot be written. Make it writable, or install the server ' +
      'yourself and name it in the setting neuralforge.server.path.',
  },
];

/** At the package source. */
const REMOTE: Known[] = [
  {
    pattern:
      /Temporary failure in name resolution|Name or service not known|getaddrinfo failed|Network is unreachable|Connection refused|ConnectTimeout|Max retries exceeded|dns error|tcp connect error|error sending request|Failed to fetch|Could not connect|proxy/i,
    says: UNREACHABLE,
  },
  {
    pattern:
      /No matching distribution found|Could not find a version that satisfies|No solution found|was not found in the package registry/i,
    says:
      'The package source does not have this version of the server. Name a source that has it in ' +
      'the setting neuralforge.server.index_url, or another package in neuralforge.server.package.',
  },
];

/**
 * The trouble that an installation ran into, told from what it printed; `reachable`: whether the
 * package source answers, which pip says in warnings only.
 */
export function installTrouble(printed: string, reachable = true): Trouble {
  const fits = ({ pattern }: Known): boolean => pattern.test(printed);
  const known = LOCAL.find(fits) ?? (reachable ? REMOTE.find(fits) : { says: UNREACHABLE });
  if (known !== undefined) return new Trouble(known.says);
  const last = printed.trim().split('\n').at(-1) ?? '';
  return new Trouble(`The server could not be installed: ${last} The output has the whole story.`);
}

/** What to say where no Python will do; `found` are the versions that were found. */
export function pythonTrouble(found: readonly string[]): Trouble {
  const there =
    found.length === 0
      ? 'There is no Python on this machine.'
      : `The newest Python here is ${newest(found)}; the server needs ${MINIMUM_PYTHON} or newer.`;
  return new Trouble(
    `${there} Install Python ${MINIMUM_PYTHON} or newer (https://www.python.org/downloads) or uv ` +
      '(https://docs.astral.sh/uv), or name a Python in the setting neuralforge.server.python; ' +
      'then install the server again.',
  );
}

/** Whether a version of Python, as `3.12`, can run the server. */
export function isNewEnough(version: string): boolean {
  return compare(version, MINIMUM_PYTHON) >= 0;
}

/** Whether a server of one version and an extension of another understand each other. */
export function fitTogether(server: string, extension: string): boolean {
  const [a, b] = [parts(server), parts(extension)];
  return a[0] === b[0] && a[1] === b[1];
}

function newest(versions: readonly string[]): string {
  return [...versions].sort(compare).at(-1) ?? '';
}

function compare(left: string, right: string): number {
  const [a, b] = [parts(left), parts(right)];
  const differs = [0, 1, 2].find((at) => (a[at] ?? 0) !== (b[at] ?? 0));
  return differs === undefined ? 0 : (a[differs] ?? 0) - (b[differs] ?? 0);
}

function parts(version: string): number[] {
  return version.split('.').map((part) => Number.parseInt(part, 10) || 0);
}
