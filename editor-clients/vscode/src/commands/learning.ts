/**
 * Commands on learning: train now, steer a training, allow or refuse a repository.
 */
import { Uri, window, workspace } from 'vscode';
import type { Command, Parts } from './run.ts';

export function learningCommands({ session }: Parts): Record<string, Command> {
  const order = (name: string): Command => {
    return async () => {
      const { running } = await session.command<{ running: boolean }>(`neuralforge.train.${name}`);
      if (!running) window.setStatusBarMessage(SAID[name] ?? 'No training is running.', 5000);
    };
  };
  const train = async (what: Record<string, unknown>): Promise<void> => {
    const { source } = await session.command<{ source: string }>('neuralforge.train.now', what);
    window.setStatusBarMessage(`NeuralForge learns from ${source}`, 5000);
  };
  const answer = async (said: 'yes' | 'no'): Promise<void> => {
    const folder = await pickFolder();
    const uri = folder.fsPath;
    const { repository } = await session.command<{ repository: string | null }>(
      'neuralforge.consent.state',
      uri,
    );
    if (repository === null) throw new Error(`${uri} lies in no git repository.`);
    await session.command('neuralforge.consent', repository, said);
    const does = said === 'yes' ? 'may learn' : 'does not learn';
    window.setStatusBarMessage(`NeuralForge ${does} from ${repository}`, 5000);
  };
  return {
    trainRepository: async () => {
      await train({ repository: (await pickFolder()).fsPath });
    },
    trainSession: () => train({ session: true }),
    pauseTraining: order('pause'),
    resumeTraining: order('resume'),
    skipTraining: order('skip'),
    cancelTraining: order('cancel'),
    allowRepository: () => answer('yes'),
    refuseRepository: () => answer('no'),
  };
}

const SAID: Partial<Record<string, string>> = {
  pause: 'NeuralForge: trainings wait until you resume them.',
  resume: 'NeuralForge: trainings may run again.',
};

/** The workspace's folder with the active file, else the file's own, else the only one, else the
 * one that the user picks. */
async function pickFolder(): Promise<Uri> {
  const folders = (workspace.workspaceFolders ?? []).filter(({ uri }) => uri.scheme === 'file');
  const active = window.activeTextEditor?.document.uri;
  const own = active && workspace.getWorkspaceFolder(active);
  if (own !== undefined) return own.uri;
  const [first] = folders;
  if (first === undefined && active?.scheme === 'file') return Uri.joinPath(active, '..');
  if (first === undefined) throw new Error('Open the folder of a repository first.');
  if (folders.length === 1) return first.uri;
  const chosen = await window.showWorkspaceFolderPick({ placeHolder: 'Which repository?' });
  if (chosen === undefined) throw new Error('No repository was chosen.');
  return chosen.uri;
}
