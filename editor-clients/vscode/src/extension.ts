/**
 * Activation: makes the parts and joins them; waits for no server.
 */
import { type ExtensionContext, commands, window, workspace } from 'vscode';
import { adapterCommands } from './commands/adapters.ts';
import { baseCommands } from './commands/bases.ts';
import { learningCommands } from './commands/learning.ts';
import { logCommands } from './commands/log.ts';
import { type Parts, register } from './commands/run.ts';
import { serverCommands } from './commands/server.ts';
import { suggestionCommands } from './commands/suggestions.ts';
import { launchOf, lookForServer } from './find.ts';
import { Notices } from './notices.ts';
import type { Origin } from './server/find.ts';
import { Installer } from './server/installer.ts';
import { Session } from './session.ts';
import { SECTION } from './settings.ts';
import { StatusModel } from './status.ts';
import { Suggestions } from './suggestions.ts';
import { Toggles } from './toggles.ts';
import { showDetails } from './views/details.ts';
import { PrivacyScreen } from './views/privacy.ts';
import { showReport } from './views/report.ts';
import { StatusItem } from './views/statusItem.ts';
import { type Facts, look } from './views/statusText.ts';
import { Tree } from './views/tree.ts';

const GREETED = 'greeted';

let session: Session | null = null;

export function activate(context: ExtensionContext): void {
  const parts = makeParts(context);
  session = parts.session;
  const item = new StatusItem();
  const privacy = new PrivacyScreen(async () => (await parts.status.more())?.server ?? null);
  const show = (): void => {
    item.show(look(facts(parts)));
  };
  show();
  context.subscriptions.push(
    parts.output,
    parts.session,
    parts.status,
    item,
    privacy,
    new Tree(parts.session, parts.status),
    parts.status.onDidChange(show),
    parts.session.onDidChange(() => {
      parts.status.forget();
    }),
    window.onDidChangeActiveTextEditor(show),
    workspace.onDidCloseTextDocument((document) => {
      parts.toggles.closed(document);
    }),
    workspace.onDidGrantWorkspaceTrust(() => void parts.session.restart()),
    workspace.onDidChangeConfiguration((change) => {
      if (!change.affectsConfiguration(SECTION)) return;
      show();
      const ours = ['path', 'arguments'].map((name) => `${SECTION}.server.${name}`);
      if (ours.some((name) => change.affectsConfiguration(name))) void parts.session.restart();
    }),
    ...registerAll(parts, privacy),
  );
  void begin(parts);
}

export async function deactivate(): Promise<void> {
  await session?.stop();
}

function makeParts(context: ExtensionContext): Parts {
  const output = window.createOutputChannel('NeuralForge', { log: true });
  const toggles = new Toggles();
  const installer = new Installer(context, output);
  const notices = new Notices();
  const { version: own } = context.extension.packageJSON as { version: string };
  let origin: Origin = 'path';
  const session = new Session(output, {
    find: async () => {
      const found = await lookForServer(installer);
      if (found !== null) origin = found.origin;
      return found === null ? null : launchOf(found);
    },
    suggestions: () => suggestions,
    started: (version) => {
      notices.versions(version, own, origin);
    },
    closed: (restarts) => {
      notices.serverEnded(restarts);
    },
    status: (live) => {
      status.told(live);
    },
  });
  const status = new StatusModel(session);
  const suggestions = new Suggestions(
    toggles,
    (method, { id, text }, more) => {
      const item = { insertText: text, command: { arguments: [id] } };
      session.tell(method, { item, ...more });
    },
    () => {
      status.look();
    },
  );
  return { context, output, session, status, suggestions, toggles, installer };
}

function registerAll(parts: Parts, privacy: PrivacyScreen) {
  const screens = {
    details: async () => {
      const more = await parts.status.more();
      await showDetails(facts(parts), more);
    },
    privacy: () => privacy.show(),
    report: () => showReport(parts.session),
  };
  const table = {
    ...suggestionCommands(parts),
    ...adapterCommands(parts),
    ...learningCommands(parts),
    ...logCommands(parts),
    ...baseCommands(parts),
    ...serverCommands(parts, screens),
  };
  return register(table, parts.output);
}

/** Starts the server; where there is none, offers to install it. */
async function begin({ context, session }: Parts): Promise<void> {
  await session.restart();
  if (session.state.kind === 'untrusted') return;
  if (mayGreet(context)) {
    await context.globalState.update(GREETED, true);
    void commands.executeCommand('neuralforge.openWalkthrough');
  }
  if (session.state.kind === 'missing') await commands.executeCommand('neuralforge.installServer');
}

/** Whether to open the walkthrough: once, over nobody's file, and as VS Code's own setting says. */
function mayGreet({ globalState }: ExtensionContext): boolean {
  const wanted = workspace
    .getConfiguration('workbench.welcomePage.walkthroughs')
    .get<boolean>('openOnInstall', true);
  return wanted && globalState.get(GREETED) !== true && window.visibleTextEditors.length === 0;
}

function facts({ session, status, suggestions, toggles }: Parts): Facts {
  const document = window.activeTextEditor?.document;
  return {
    state: session.state,
    live: status.now,
    latency: suggestions.latency,
    allowed: document === undefined || toggles.allows(document),
  };
}
