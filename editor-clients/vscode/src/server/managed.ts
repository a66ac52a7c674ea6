/**
 * The folder of the managed environment in the editor's storage.
 *
 * Each installation gets a folder of its own, and `server.json` names the one in use: one that
 * was interrupted is never used, and the one before stays until the next is complete.
 */
import { mkdir, readFile, readdir, rename, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { programsOf } from './plan.ts';

const POINTER = 'server.json';

export class ManagedFolder {
  constructor(private readonly root: string) {}

  /** Folder of the programs of the environment in use, or null. */
  async programs(platform: NodeJS.Platform): Promise<string | null> {
    const name = await this.inUse();
    return name === null ? null : programsOf(path.join(this.root, name), platform);
  }

  /** A new folder's path; nothing is at it yet. */
  async next(): Promise<string> {
    await mkdir(this.root, { recursive: true });
    const used = (await this.all()).map((name) => Number(name.slice(4)));
    return path.join(this.root, `env-${Math.max(0, ...used) + 1}`);
  }

  /** Makes a finished environment the one in use, and deletes the others. */
  async use(folder: string): Promise<void> {
    const draft = path.join(this.root, `${POINTER}.new`);
    await writeFile(draft, JSON.stringify({ folder: path.basename(folder) }), 'utf8');
    await rename(draft, path.join(this.root, POINTER));
    await this.deleteOthers();
  }

  /** Deletes what no finished installation left. */
  async deleteOthers(): Promise<void> {
    const kept = await this.inUse();
    const others = (await this.all()).filter((name) => name !== kept);
    await Promise.allSettled(
      others.map((name) => rm(path.join(this.root, name), { recursive: true, force: true })),
    );
  }

  private async inUse(): Promise<string | null> {
    try {
      const read: unknown = JSON.parse(await readFile(path.join(this.root, POINTER), 'utf8'));
      if (typeof read !== 'object' || read === null || !('folder' in read)) return null;
      return typeof read.folder === 'string' && isOurs(read.folder) ? read.folder : null;
    } catch {
      return null;
    }
  }

  private async all(): Promise<string[]> {
    try {
      return (await readdir(this.root)).filter(isOurs);
    } catch {
      return [];
    }
  }
}

function isOurs(name: string): boolean {
  return /^env-\d+$/.test(name);
}
