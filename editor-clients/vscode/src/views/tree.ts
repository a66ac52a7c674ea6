/**
 * The view of adapters, stacks and trainings. It asks the server when it is shown and whenever
 * the status has changed.
 */
import {
  type Disposable,
  EventEmitter,
  ThemeIcon,
  type TreeDataProvider,
  TreeItem,
  TreeItemCollapsibleState,
  window,
} from 'vscode';
import type { AdapterList, AdapterRow, StackList, StackRow } from '../protocol.ts';
import type { Session } from '../session.ts';
import type { StatusModel } from '../status.ts';
import { adapterRow, stackRow } from './rows.ts';
import { isPaused, jobName, learningText, workText } from './statusText.ts';

type Node =
  | { kind: 'adapters' | 'stacks' | 'runs' }
  | { kind: 'adapter'; adapter: string; row: AdapterRow }
  | { kind: 'stack'; row: StackRow }
  | { kind: 'run'; label: string; description: string; does: 'running' | 'paused' | 'none' };

export class Tree implements TreeDataProvider<Node>, Disposable {
  private readonly changed = new EventEmitter<undefined>();
  readonly onDidChangeTreeData = this.changed.event;
  private readonly owned: Disposable[];

  constructor(
    private readonly session: Session,
    private readonly status: StatusModel,
  ) {
    const view = window.createTreeView('neuralforge.tree', { treeDataProvider: this });
    const follow = status.onDidChange(() => {
      if (view.visible) this.changed.fire(undefined);
    });
    this.owned = [view, follow];
  }

  getTreeItem(node: Node): TreeItem {
    switch (node.kind) {
      case 'adapter':
        return leaf(node.row.adapter, 'layers', adapterRow(node.row), adapterContext(node.row));
      case 'stack':
        return leaf(node.row.name, 'list-ordered', stackRow(node.row), 'stack');
      case 'run':
        return leaf(
          node.label,
          'mortar-board',
          { description: node.description },
          `run.${node.does}`,
        );
      default:
        return branch(node.kind);
    }
  }

  async getChildren(node?: Node): Promise<Node[]> {
    if (this.session.state.kind !== 'running') return [];
    switch (node?.kind) {
      case undefined:
        return [{ kind: 'adapters' }, { kind: 'stacks' }, { kind: 'runs' }];
      case 'adapters':
        return this.adapters();
      case 'stacks':
        return this.stacks();
      case 'runs':
        return this.runs();
      default:
        return [];
    }
  }

  dispose(): void {
    this.owned.forEach((part) => void part.dispose());
    this.changed.dispose();
  }

  private async adapters(): Promise<Node[]> {
    const { adapters } = await this.session.command<AdapterList>('neuralforge.adapter.list');
    return adapters
      .map((row) => ({ kind: 'adapter', adapter: row.adapter, row }))
      .reverse() as Node[];
  }

  private async stacks(): Promise<Node[]> {
    const { stacks } = await this.session.command<StackList>('neuralforge.stack.list');
    return stacks.map((row) => ({ kind: 'stack', row }));
  }

  private runs(): Node[] {
    const learning = this.status.now?.learning;
    if (learning === undefined) return [];
    const does = isPaused(learning) ? 'paused' : learning.running ? 'running' : 'none';
    const now: Node = { kind: 'run', label: 'Now', description: learningText(learning), does };
    if (learning.running || learning.job === '') return [now];
    return [
      now,
      {
        kind: 'run',
        label: jobName(learning.job),
        description: workText(learning),
        does: 'none',
      },
    ];
  }
}

const TITLES = { adapters: 'Adapters', stacks: 'Stacks', runs: 'Trainings' };

function branch(kind: keyof typeof TITLES): TreeItem {
  const item = new TreeItem(TITLES[kind], TreeItemCollapsibleState.Expanded);
  item.id = kind;
  item.contextValue = kind;
  return item;
}

function leaf(
  label: string,
  icon: string,
  row: { description: string; detail?: string },
  context: string,
): TreeItem {
  const item = new TreeItem(label);
  item.description = row.description;
  item.tooltip = [label, row.description, row.detail ?? '']
    .filter((line) => line !== '')
    .join('\n');
  item.iconPath = new ThemeIcon(icon);
  item.contextValue = context;
  return item;
}

/** What the menus offer on an adapter. */
function adapterContext(row: AdapterRow): string {
  if (!row.fits) return 'adapter.other';
  return row.scale === null ? 'adapter.idle' : 'adapter.loaded';
}
