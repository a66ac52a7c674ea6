/**
 * Where the server's program lies: what the setting names, else `neuralforge` on PATH, else the
 * managed environment. Looks at names and files only; starts nothing.
 */
import path from 'node:path';

/** How to start the server. */
export interface Launch {
  command: string;
  args: string[];
  options?: { cwd?: string; env?: Record<string, string | undefined> };
}

export type Origin = 'setting' | 'path' | 'managed';

export interface Found {
  command: string;
  origin: Origin;
}

export interface Places {
  /** The setting `neuralforge.server.path`; empty for none. */
  setting: string;
  /** PATH of the environment. */
  searchPath: string;
  /** Folder of the managed environment's programs; null where none is installed. */
  managed: string | null;
  platform: NodeJS.Platform;
  isFile: (file: string) => boolean;
}

/** The server's program, or null where there is none; a setting that leads nowhere is null too. */
export function findServer(places: Places): Found | null {
  if (places.setting !== '') {
    const command = places.setting;
    const bare = !/[\\/]/.test(command);
    const found = bare ? onPath(command, places) : places.isFile(command) ? command : null;
    return found === null ? null : { command: found, origin: 'setting' };
  }
  const command = onPath('neuralforge', places);
  if (command !== null) return { command, origin: 'path' };
  if (places.managed === null) return null;
  const managed = join(places, places.managed, programName('neuralforge', places.platform));
  return places.isFile(managed) ? { command: managed, origin: 'managed' } : null;
}

/** A program's full path by PATH, or null. */
export function onPath(
  name: string,
  places: Pick<Places, 'searchPath' | 'platform' | 'isFile'>,
): string | null {
  const separator = places.platform === 'win32' ? ';' : ':';
  for (const folder of places.searchPath.split(separator).filter((entry) => entry !== '')) {
    const file = join(places, folder, programName(name, places.platform));
    if (places.isFile(file)) return file;
  }
  return null;
}

export function programName(name: string, platform: NodeJS.Platform): string {
  return platform === 'win32' && !name.toLowerCase().endsWith('.exe') ? `${name}.exe` : name;
}

function join(places: Pick<Places, 'platform'>, ...parts: string[]): string {
  return (places.platform === 'win32' ? path.win32 : path.posix).join(...parts);
}
