/**
 * Commands on the session log: see and search it, delete from it.
 */
import { Position, type QuickPickItem, Range, Uri, window, workspace } from 'vscode';
import type { LogRow } from '../protocol.ts';
import { logRow } from '../views/rows.ts';
import type { Command, Parts } from './run.ts';

export function logCommands({ session }: Parts): Record<string, Command> {
  return {
    showLog: () => {
      browse((text) => session.command('neuralforge.log.show', text === '' ? {} : { text }));
    },
    purgeLog: async () => {
      const chosen = await window.showQuickPick(purges(), { title: 'Delete from the session log' });
      const options = await chosen?.options();
      if (chosen === undefined || options === undefined) return;
      const sure = await window.showWarningMessage(
        `${chosen.label}: this cannot be undone.`,
        { modal: true, detail: 'What was learned from it before stays in the adapters.' },
        'Delete',
      );
      if (sure !== 'Delete') return;
      const gone = await session.command<Record<string, unknown>>('neuralforge.log.purge', options);
      const count = Number(gone.suggestions ?? 0);
      window.setStatusBarMessage(`NeuralForge: ${count} suggestions deleted from the log`, 5000);
    },
  };
}

interface RowItem extends QuickPickItem {
  row: LogRow;
}

/** A picker that searches on the server as the user types; choosing a row opens its place. */
function browse(ask: (text: string) => Promise<{ rows: LogRow[] }>): void {
  const picker = window.createQuickPick<RowItem>();
  picker.title = 'Session log: the newest suggestions first';
  picker.placeholder = 'Search suggestions and paths';
  const show = async (text: string): Promise<void> => {
    picker.busy = true;
    try {
      const { rows } = await ask(text);
      if (picker.value === text) {
        picker.items = rows.map((row) => ({ ...logRow(row), row, alwaysShow: true }));
      }
    } catch (error) {
      picker.items = [];
      picker.placeholder = error instanceof Error ? error.message : String(error);
    } finally {
      picker.busy = false;
    }
  };
  picker.onDidChangeValue((text) => void show(text));
  picker.onDidAccept(() => {
    const [chosen] = picker.selectedItems;
    picker.hide();
    if (chosen !== undefined) void open(chosen.row);
  });
  picker.onDidHide(() => {
    picker.dispose();
  });
  picker.show();
  void show('');
}

async function open(row: LogRow): Promise<void> {
  if (row.path === null) return;
  const document = await workspace.openTextDocument(Uri.file(row.path));
  const place = document.validatePosition(new Position(row.line, 0));
  await window.showTextDocument(document, { selection: new Range(place, place) });
}

interface Purge extends QuickPickItem {
  options: () => Promise<Record<string, unknown> | undefined>;
}

function purges(): Purge[] {
  const folders = (workspace.workspaceFolders ?? []).filter(({ uri }) => uri.scheme === 'file');
  return [
    ...folders.map(({ name, uri }) => ({
      label: `Everything of ${name}`,
      detail: uri.fsPath,
      options: () => Promise.resolve({ repository: uri.fsPath }),
    })),
    { label: 'Everything that is older than some days', options: askDays },
    { label: 'Everything', options: () => Promise.resolve({ everything: true }) },
  ];
}

async function askDays(): Promise<Record<string, unknown> | undefined> {
  const text = await window.showInputBox({
    prompt: 'Delete what is older than how many days?',
    value: '30',
    validateInput: (value) =>
      /^\d+(\.\d+)?$/.test(value.trim()) ? null : 'Give a number of days.',
  });
  return text === undefined ? undefined : { older_than_days: Number(text) };
}
