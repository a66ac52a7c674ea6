/**
 * Where suggestions are on: everywhere, in this workspace, for a language, in one document.
 *
 * The first three are the server's settings, which VS Code keeps for each scope; the last is
 * forgotten with the window.
 */
import { ConfigurationTarget, type TextDocument, workspace } from 'vscode';
import { SECTION } from './settings.ts';

const ENABLED = 'completion.enabled';

export class Toggles {
  private readonly off = new Set<string>();

  /** Whether a document may be completed. */
  allows(document: TextDocument): boolean {
    return (
      !this.off.has(document.uri.toString()) && isOn() && speaks(languages(), document.languageId)
    );
  }

  /** Turns one document's suggestions off or on; returns whether they are on now. */
  toggleDocument(document: TextDocument): boolean {
    const key = document.uri.toString();
    if (this.off.delete(key)) return true;
    this.off.add(key);
    return false;
  }

  /** Forgets a document that was closed. */
  closed(document: TextDocument): void {
    this.off.delete(document.uri.toString());
  }

  async toggleEverywhere(): Promise<boolean> {
    return flip(ConfigurationTarget.Global);
  }

  async toggleWorkspace(): Promise<boolean> {
    return flip(ConfigurationTarget.Workspace);
  }

  async toggleLanguage(languageId: string): Promise<boolean> {
    const now = languages();
    const on = !speaks(now, languageId);
    const next = { ...now, [languageId]: on };
    await section().update('completion.languages', next, ConfigurationTarget.Global);
    return on;
  }
}

function section() {
  return workspace.getConfiguration(SECTION, null);
}

function isOn(): boolean {
  return section().get(ENABLED, true);
}

function languages(): Record<string, boolean> {
  return section().get<Record<string, boolean>>('completion.languages', {});
}

/** As the server decides it: `*` stands for the languages that are not named. */
function speaks(named: Record<string, boolean>, languageId: string): boolean {
  return named[languageId] ?? named['*'] ?? true;
}

/**
 * Turns suggestions off or on as far as they are seen here. A workspace that says what everywhere
 * holds says nothing of its own, so that it follows when that changes.
 */
async function flip(target: ConfigurationTarget): Promise<boolean> {
  const on = !isOn();
  const kept = section().inspect<boolean>(ENABLED);
  const everywhere = target === ConfigurationTarget.Global;
  if (everywhere) await section().update(ENABLED, on, target);
  const said = everywhere ? on : (kept?.globalValue ?? true);
  if (!everywhere || kept?.workspaceValue !== undefined) {
    await section().update(ENABLED, on === said ? undefined : on, ConfigurationTarget.Workspace);
  }
  return on;
}
