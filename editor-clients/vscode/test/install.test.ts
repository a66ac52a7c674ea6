import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readdir } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { findMaker } from '../src/server/makers.ts';
import { ManagedFolder } from '../src/server/managed.ts';
import { type Maker, isNamed, steps } from '../src/server/plan.ts';
import { runProgram } from '../src/server/programs.ts';
import { answers, sourceOf } from '../src/server/source.ts';
import { Trouble, fitTogether, installTrouble } from '../src/server/trouble.ts';

const SOURCE = { package: '', indexUrl: '', extraIndexUrl: '', training: false };

/** A machine on which these programs answer. */
function machine(programs: Record<string, string>) {
  return (program: string) =>
    Promise.resolve({ ok: program in programs, printed: programs[program] ?? '' });
}

test('uv makes the environment where it is installed', async () => {
  const maker = await findMaker('', 'linux', machine({ uv: 'uv 0.9', python3: '3.12\n/p\n' }));
  assert.equal(maker.kind, 'uv');
});

test('an old python3 is passed over for a newer one', async () => {
  const run = machine({ python3: '3.9\n/usr/bin/python3\n', 'python3.12': '3.12\n/opt/python\n' });
  assert.deepEqual(await findMaker('', 'linux', run), { kind: 'python', program: '/opt/python' });
});

test('no Python, or only an old one, is said with the step that mends it', async () => {
  await assert.rejects(findMaker('', 'linux', machine({})), (error: Error) => {
    assert.match(error.message, /no Python on this machine.*python\.org/s);
    return error instanceof Trouble;
  });
  const old = machine({ python3: '3.9\n/usr/bin/python3\n', python: '3.10\n/x\n' });
  await assert.rejects(findMaker('', 'linux', old), /newest Python here is 3\.10.*3\.11 or newer/s);
});

test('a Python that the user named is not replaced by another', async () => {
  const run = machine({ uv: 'uv 0.9', '/mine/python': '3.8\n/mine/python\n' });
  await assert.rejects(findMaker('/mine/python', 'linux', run), /3\.8/);
});

test('the bare name is never asked for on the public index', () => {
  assert.equal(isNamed(SOURCE), false);
  assert.equal(isNamed({ ...SOURCE, indexUrl: 'http://a/simple' }), true);
  assert.equal(isNamed({ ...SOURCE, package: '/src/neuralforge[train]' }), true);
});

test('the package source and the version are passed on', () => {
  const source = {
    ...SOURCE,
    training: true,
    indexUrl: 'http://a/simple',
    extraIndexUrl: 'http://b',
  };
  const maker = { kind: 'python', program: 'python3' } as const;
  const [making, installing] = steps(maker, '/env', source, '0.4.2', 'linux');
  assert.deepEqual(making?.args, ['-m', 'venv', '/env']);
  assert.equal(installing?.program, '/env/bin/python');
  const line = installing.args.join(' ');
  assert.match(line, /--index-url http:\/\/a\/simple --extra-index-url http:\/\/b/);
  assert.match(line, /neuralforge\[train\]~=0\.4\.0$/);
});

test('uv installs into the environment that it made', () => {
  const [, installing] = steps({ kind: 'uv', program: 'uv' }, '/env', SOURCE, '0.1.0', 'linux');
  assert.deepEqual(installing?.args.slice(0, 4), ['pip', 'install', '--python', '/env/bin/python']);
});

for (const [printed, says] of [
  ['CMake Error: CMAKE_C_COMPILER not set, after EnableLanguage', /no C\+\+ compiler/],
  ["error: command 'gcc' failed: No such file or directory", /no C\+\+ compiler/],
  ['The virtual environment was not created because ensurepip is not available.', /python3-venv/],
  ['Max retries exceeded with url: /simple/neuralforge/', /cannot be reached/],
  ['ERROR: No matching distribution found for neuralforge~=9.0', /does not have this version/],
  ['OSError: [Errno 28] No space left on device', /disk is full/],
  ['mkdir: EACCES: permission denied', /cannot be written/],
] as const) {
  test(`what pip prints is told with its remedy: ${printed.slice(0, 40)}`, () => {
    assert.match(installTrouble(printed).message, says);
  });
}

test('a source that does not answer is told whatever pip prints', () => {
  assert.match(installTrouble('', false).message, /cannot be reached/);
  assert.match(
    installTrouble('No matching distribution found', false).message,
    /cannot be reached/,
  );
  assert.match(installTrouble('No space left on device', false).message, /disk is full/);
});

test('whether a source answers is seen by asking it', async () => {
  const server = createServer((_, response) => response.writeHead(404).end());
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  const address = `http://127.0.0.1:${port}/simple/`;
  assert.equal(await answers(address), true);
  await new Promise((resolve) => server.close(resolve));
  assert.equal(await answers(address), false);
});

test('the source is the setting, else what pip says that it uses', async () => {
  const printing = (printed: string) => () => Promise.resolve({ ok: true, printed });
  const python: Maker = { kind: 'python', program: 'python3' };
  const configured = printing(
    '  -i, --index-url <url>   Base URL of the Python Package Index (default\n' +
      '                          http://some-long-\n                          host/simple). This\n',
  );
  assert.equal(await sourceOf('http://s/', python, configured), 'http://s/');
  assert.equal(await sourceOf('', python, configured), 'http://some-long-host/simple');
  assert.equal(await sourceOf('', python, printing('No module named pip')), null);
  assert.equal(await sourceOf('', { kind: 'uv', program: 'uv' }, configured), null);
});

test('an unknown failure is told by its last line', () => {
  assert.match(installTrouble('a\nodd things happened\n').message, /odd things happened/);
});

test('a program that is not there is an end, not an error', async () => {
  const ended = await runProgram('/no/such/program', []);
  assert.equal(ended.ok, false);
  assert.match(ended.printed, /ENOENT/);
});

test('an interrupted installation is never used, and the one before stays', async () => {
  const folder = new ManagedFolder(await mkdtemp(path.join(tmpdir(), 'managed-')));
  assert.equal(await folder.programs('linux'), null);
  const first = await folder.next();
  await mkdir(first);
  assert.equal(await folder.programs('linux'), null);
  await folder.use(first);
  const second = await folder.next();
  assert.notEqual(second, first);
  await mkdir(second);
  assert.equal(await folder.programs('linux'), path.join(first, 'bin'));
  await folder.use(second);
  assert.equal(await folder.programs('linux'), path.join(second, 'bin'));
  const left = (await readdir(path.dirname(second))).filter((name) => name.startsWith('env-'));
  assert.deepEqual(left, [path.basename(second)]);
});

test('versions fit together when the first two numbers are the same', () => {
  assert.ok(fitTogether('0.1.7', '0.1.0'));
  assert.ok(!fitTogether('0.2.0', '0.1.0'));
  assert.ok(!fitTogether('1.1.0', '0.1.0'));
});
