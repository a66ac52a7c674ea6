/**
 * What happens between VS Code and the server while suggestions are asked for and shown.
 *
 * VS Code tells an extension neither what it draws nor what is taken of it. Known are: which
 * answer is still wanted when it comes (it is shown then), and what our own commands do to it.
 * The server infers the rest from the edits.
 */
import {
  commands,
  type InlineCompletionContext,
  type InlineCompletionItem,
  type InlineCompletionList,
  type Position,
  type TextDocument,
  window,
} from 'vscode';
import type { Middleware } from 'vscode-languageclient';
import { acceptedUnits, type OnShow } from './partial.ts';
import type { Toggles } from './toggles.ts';

/** Tells the server: `about` is the suggestion, as the server's notifications name it. */
export type Report = (
  method: string,
  about: Pick<OnShow, 'id' | 'text'>,
  more?: Record<string, unknown>,
) => void;

interface Shown extends OnShow {
  document: TextDocument;
}

export class Suggestions {
  /** Milliseconds of the last answer that held a suggestion. */
  latency: number | null = null;
  private shown: Shown | null = null;

  constructor(
    private readonly toggles: Toggles,
    private readonly report: Report,
    private readonly answered: () => void,
  ) {}

  readonly middleware: Pick<Middleware, 'provideInlineCompletionItems'> = {
    provideInlineCompletionItems: async (document, position, context, token, next) => {
      if (!this.toggles.allows(document)) return [];
      const began = performance.now();
      const found = await next(document, position, context, token);
      if (found && !token.isCancellationRequested) {
        this.note(document, position, context, itemsOf(found), performance.now() - began);
      }
      return found;
    },
  };

  private note(
    document: TextDocument,
    position: Position,
    context: InlineCompletionContext,
    items: InlineCompletionItem[],
    milliseconds: number,
  ): void {
    const [first] = items;
    if (first === undefined) return;
    this.latency = milliseconds;
    this.answered();
    const id = idOf(first);
    const text = typeof first.insertText === 'string' ? first.insertText : first.insertText.value;
    const chosen = context.selectedCompletionInfo;
    if (id === null || !isAt(document, position) || (chosen && !text.startsWith(chosen.text))) {
      return;
    }
    if (this.shown?.id !== id) this.report('textDocument/didShowCompletion', { id, text });
    this.shown = { id, text, start: document.offsetAt(position), document };
  }

  /** Runs one of VS Code's commands that accept a part, and reports how much it took. */
  async acceptPart(command: string): Promise<void> {
    const shown = this.shown;
    await commands.executeCommand(command);
    const editor = window.activeTextEditor;
    if (shown === null || editor?.document !== shown.document) return;
    const offset = shown.document.offsetAt(editor.selection.active);
    const units = acceptedUnits(shown, offset, shown.document.getText());
    if (units > 0) {
      this.report('textDocument/didPartiallyAcceptCompletion', shown, { acceptedLength: units });
    }
  }

  /** Hides the suggestion, as Escape does, and reports that it was not wanted. */
  async dismiss(): Promise<void> {
    const shown = this.shown;
    this.shown = null;
    await commands.executeCommand('editor.action.inlineSuggest.hide');
    if (shown !== null) this.report('textDocument/didDismissCompletion', shown);
  }
}

function itemsOf(found: InlineCompletionItem[] | InlineCompletionList): InlineCompletionItem[] {
  return Array.isArray(found) ? found : found.items;
}

/** Whether the cursor is still where it was asked for. */
function isAt(document: TextDocument, position: Position): boolean {
  const editor = window.activeTextEditor;
  return editor?.document === document && editor.selection.active.isEqual(position);
}

function idOf(item: InlineCompletionItem): string | null {
  const id: unknown = item.command?.arguments?.[0];
  return typeof id === 'string' ? id : null;
}
