/**
 * Commands on adapters and named stacks: pickers over what the server lists.
 */
import { homedir } from 'node:os';
import path from 'node:path';
import { type QuickPickItem, Uri, window } from 'vscode';
import type { AdapterList, AdapterRow, StackEntry, StackList, StackRow } from '../protocol.ts';
import { adapterRow, scaleText, stackRow, stackText } from '../views/rows.ts';
import type { Command, Parts } from './run.ts';

interface Choice<T> extends QuickPickItem {
  value: T;
}

export function adapterCommands({ session, status }: Parts): Record<string, Command> {
  const list = (): Promise<AdapterList> => session.command('neuralforge.adapter.list');
  const change = async (name: string, ...args: unknown[]): Promise<void> => {
    const answer = await session.command<{ stack: StackEntry[] }>(name, ...args);
    window.setStatusBarMessage(`NeuralForge: ${stackText(answer.stack)}`, 5000);
  };
  const versions = async (
    title: string,
    given: unknown,
    keep: (row: AdapterRow) => boolean,
  ): Promise<AdapterRow | undefined> => {
    const { adapters } = await list();
    const named = nameOf(given);
    if (named !== null) return adapters.find((row) => row.adapter === named);
    return pickOne(title, adapters.filter(keep), adapterRow, 'There is no such adapter.');
  };
  return {
    manageAdapters: async () => {
      const row = await versions('Adapters', undefined, () => true);
      if (row !== undefined) await manage(row, change);
    },
    loadAdapter: async (given) => {
      const row = await versions('Load an adapter', given, (one) => one.fits && one.scale === null);
      if (row !== undefined) await change('neuralforge.adapter.load', row.adapter);
    },
    unloadAdapter: async (given) => {
      const entry = await pickLoaded('Unload an adapter', given, list);
      if (entry !== undefined) await change('neuralforge.adapter.unload', entry.adapter);
    },
    swapAdapters: async () => {
      const chosen = await pickStack(await list());
      if (chosen !== undefined) await change('neuralforge.adapter.swap', ...chosen);
    },
    scaleAdapter: async (given) => {
      const entry = await pickLoaded('Scale an adapter', given, list);
      if (entry !== undefined) await scale(entry.adapter, entry.scale, change);
    },
    rollBackAdapter: async (given) => {
      const row = await versions('Roll back to', given, (one) => one.fits && !one.current);
      if (row !== undefined) await change('neuralforge.adapter.rollback', row.adapter);
    },
    ...stackCommands(session, change, (text) => {
      window.setStatusBarMessage(`NeuralForge: ${text}`, 5000);
      status.look();
    }),
    exportAdapter: () => exportPersonal(session),
  };
}

async function exportPersonal(session: Parts['session']): Promise<void> {
  const target = await window.showSaveDialog({
    defaultUri: Uri.file(path.join(homedir(), 'personal-adapter.zip')),
    filters: { 'PEFT adapter, zipped': ['zip'] },
    title: 'Export the personal adapter',
  });
  if (target === undefined) return;
  const done = await session.command<{ adapter: string; path: string }>(
    'neuralforge.adapter.export',
    target.fsPath,
  );
  void window.showInformationMessage(`${done.adapter} is exported to ${done.path}.`);
}

type Change = (name: string, ...args: unknown[]) => Promise<void>;

function stackCommands(
  session: Parts['session'],
  change: Change,
  done: (text: string) => void,
): Record<string, Command> {
  const pick = async (title: string, given: unknown): Promise<string | undefined> => {
    if (typeof given === 'string') return given;
    const { stacks } = await session.command<StackList>('neuralforge.stack.list');
    const none = 'There is no named stack. Save the one in force first.';
    return (await pickOne<StackRow>(title, stacks, stackRow, none))?.name;
  };
  return {
    useStack: async (given) => {
      const name = await pick('Use a named stack', given);
      if (name !== undefined) await change('neuralforge.stack.use', name);
    },
    saveStack: async () => {
      const name = await window.showInputBox({ prompt: 'A name for the stack in force' });
      if (!name) return;
      await session.command('neuralforge.stack.save', name);
      done(`the stack is saved as ${name}`);
    },
    removeStack: async (given) => {
      const name = await pick('Forget a named stack', given);
      if (name === undefined) return;
      await session.command('neuralforge.stack.remove', name);
      done(`the stack ${name} is forgotten`);
    },
  };
}

async function manage(row: AdapterRow, change: Change): Promise<void> {
  const actions: Choice<() => Promise<void>>[] = [];
  const offer = (label: string, value: () => Promise<void>): number =>
    actions.push({ label, value });
  if (row.fits && row.scale === null) {
    offer('$(add) Load it on top', () => change('neuralforge.adapter.load', row.adapter));
  }
  if (row.fits) {
    offer('$(replace) Use it alone', () => change('neuralforge.adapter.swap', row.adapter));
  }
  if (row.scale !== null) {
    const loaded = row.scale;
    offer('$(symbol-ruler) Scale it…', () => scale(row.name, loaded, change));
    offer('$(remove) Unload it', () => change('neuralforge.adapter.unload', row.name));
  }
  if (row.fits && !row.current) {
    offer('$(history) Make this version current', () =>
      change('neuralforge.adapter.rollback', row.adapter),
    );
  }
  const chosen = await window.showQuickPick(actions, { title: row.adapter });
  await chosen?.value();
}

async function scale(adapter: string, now: number, change: Change): Promise<void> {
  const text = await window.showInputBox({
    prompt: `Scale of ${adapter}; 1 is as it was trained, 0 leaves it out`,
    value: scaleText(now),
    validateInput: (value) => (isScale(value) ? null : 'Give a number, for example 0.5.'),
  });
  if (text !== undefined) await change('neuralforge.adapter.scale', adapter, Number(text));
}

function isScale(text: string): boolean {
  return text.trim() !== '' && Number.isFinite(Number(text));
}

async function pickLoaded(
  title: string,
  given: unknown,
  list: () => Promise<AdapterList>,
): Promise<StackEntry | undefined> {
  const { stack } = await list();
  const named = nameOf(given);
  if (named !== null) {
    return stack.find(({ adapter }) => adapter === named || adapter.startsWith(`${named}@`));
  }
  const row = ({ adapter, scale }: StackEntry): QuickPickItem => ({
    label: adapter,
    description: `× ${scaleText(scale)}`,
  });
  return pickOne(title, stack, row, 'No adapter is loaded.');
}

/** Which adapters make up the stack; the order of the list is the order in the stack. */
async function pickStack({ adapters, stack }: AdapterList): Promise<StackEntry[] | undefined> {
  const scales = new Map(stack.map(({ adapter, scale }) => [adapter, scale]));
  const items = adapters
    .filter((row) => row.fits)
    .map((row) => ({ ...adapterRow(row), value: row, picked: row.scale !== null }));
  const title = 'The stack: exactly these adapters';
  const chosen = await window.showQuickPick(items, { canPickMany: true, title });
  return chosen?.map(({ value }) => ({
    adapter: value.adapter,
    scale: scales.get(value.adapter) ?? 1,
  }));
}

async function pickOne<T>(
  title: string,
  values: readonly T[],
  row: (value: T) => QuickPickItem,
  none: string,
): Promise<T | undefined> {
  if (values.length === 0) throw new Error(none);
  const items = values.map((value) => ({ ...row(value), value }));
  const chosen = await window.showQuickPick(items, { title, matchOnDescription: true });
  return chosen?.value;
}

/** The adapter that a tree's entry or a keybinding names; null where the user is to choose. */
function nameOf(given: unknown): string | null {
  if (typeof given === 'string') return given;
  if (typeof given === 'object' && given !== null && 'adapter' in given) {
    return typeof given.adapter === 'string' ? given.adapter : null;
  }
  return null;
}
