/**
 * Installs the server into the editor's own storage, after asking, with progress.
 */
import {
  type ExtensionContext,
  type LogOutputChannel,
  ProgressLocation,
  commands,
  window,
} from 'vscode';
import { clientSettings } from '../settings.ts';
import { type Run, findMaker } from './makers.ts';
import { ManagedFolder } from './managed.ts';
import { type Source, type Step, isNamed, steps } from './plan.ts';
import { type Ended, runProgram } from './programs.ts';
import { answers, sourceOf } from './source.ts';
import { Trouble, installTrouble } from './trouble.ts';

const WITH_TRAINING = 'Install';
const WITHOUT_TRAINING = 'Install Without Training';
const CHOOSE = 'I Have It…';
const OPEN_SETTINGS = 'Open the Settings';

export class Installer {
  private readonly folder: ManagedFolder;

  constructor(
    private readonly context: ExtensionContext,
    private readonly output: LogOutputChannel,
  ) {
    this.folder = new ManagedFolder(context.globalStorageUri.fsPath);
  }

  /** Folder of the managed environment's programs, or null. */
  programs(): Promise<string | null> {
    return this.folder.programs(process.platform);
  }

  /** Asks and installs; returns whether a server was installed. */
  async ask(): Promise<boolean> {
    if (!isNamed(this.source(false))) {
      await askForSource();
      return false;
    }
    const chosen = await window.showInformationMessage(
      'NeuralForge needs its server, a Python program that runs on this machine. Install it into ' +
        'the editor’s own folder? Training adds about 1 GB to download (PyTorch).',
      WITH_TRAINING,
      WITHOUT_TRAINING,
      CHOOSE,
    );
    if (chosen === CHOOSE) {
      await commands.executeCommand('workbench.action.openSettings', 'neuralforge.server.path');
    }
    if (chosen !== WITH_TRAINING && chosen !== WITHOUT_TRAINING) return false;
    await this.install(chosen === WITH_TRAINING);
    return true;
  }

  /**
   * Makes a managed environment, and uses it once it is complete.
   *
   * @throws Trouble: it cannot be made.
   */
  async install(training: boolean): Promise<void> {
    await window.withProgress(
      { location: ProgressLocation.Notification, title: 'NeuralForge', cancellable: true },
      async (progress, token) => {
        const abort = new AbortController();
        token.onCancellationRequested(() => {
          abort.abort();
        });
        try {
          await this.make(training, abort.signal, (message) => {
            progress.report({ message });
          });
        } catch (error) {
          if (abort.signal.aborted) throw new Trouble('The installation was stopped.');
          throw error instanceof Trouble ? error : installTrouble(String(error));
        } finally {
          await this.folder.deleteOthers();
        }
      },
    );
  }

  private source(training: boolean): Source {
    const settings = clientSettings();
    return {
      package: settings.installPackage,
      indexUrl: settings.installIndexUrl,
      extraIndexUrl: settings.installExtraIndexUrl,
      training,
    };
  }

  private async make(
    training: boolean,
    signal: AbortSignal,
    report: (message: string) => void,
  ): Promise<void> {
    const settings = clientSettings();
    const run: Run = (program, args) => runProgram(program, args);
    const maker = await findMaker(settings.installPython, process.platform, run);
    const folder = await this.folder.next();
    const source = this.source(training);
    const { version } = this.context.extension.packageJSON as { version: string };
    for (const step of steps(maker, folder, source, version, process.platform)) {
      const { ok, printed } = await this.run(step, signal, report);
      if (ok) continue;
      const address = await sourceOf(source.indexUrl, maker, run);
      throw installTrouble(printed, address === null || (await answers(address)));
    }
    await this.folder.use(folder);
  }

  private async run(
    { says, program, args }: Step,
    signal: AbortSignal,
    report: (message: string) => void,
  ): Promise<Ended> {
    report(says);
    this.output.info(`${program} ${args.join(' ')}`);
    const told = (line: string): void => {
      this.output.info(line);
      if (/^(Collecting|Downloading|Building|Installing|Resolved|Prepared)/.test(line.trim())) {
        report(`${says}: ${line.trim().slice(0, 80)}`);
      }
    };
    return runProgram(program, args, told, signal);
  }
}

async function askForSource(): Promise<void> {
  const chosen = await window.showInformationMessage(
    'NeuralForge needs its server, a Python program, and found none on PATH. Name the program ' +
      '(neuralforge.server.path: .venv/bin/neuralforge of a checkout), or what to install it ' +
      'from: a wheel or a checkout (neuralforge.server.package) or an index that has it ' +
      '(neuralforge.server.index_url).',
    OPEN_SETTINGS,
  );
  if (chosen !== OPEN_SETTINGS) return;
  await commands.executeCommand('workbench.action.openSettings', 'neuralforge.server');
}
