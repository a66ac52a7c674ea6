import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Places, findServer } from '../src/server/find.ts';

function places(files: string[], more: Partial<Places> = {}): Places {
  return {
    setting: '',
    searchPath: '/usr/bin:/opt/bin',
    managed: '/storage/env-1/bin',
    platform: 'linux',
    isFile: (file) => files.includes(file),
    ...more,
  };
}

test('the setting goes before PATH, and PATH before the managed environment', () => {
  const files = ['/mine/neuralforge', '/opt/bin/neuralforge', '/storage/env-1/bin/neuralforge'];
  assert.deepEqual(findServer(places(files, { setting: '/mine/neuralforge' })), {
    command: '/mine/neuralforge',
    origin: 'setting',
  });
  assert.equal(findServer(places(files))?.command, '/opt/bin/neuralforge');
  assert.equal(findServer(places(files.slice(2)))?.origin, 'managed');
});

test('a setting that leads nowhere is not made up for', () => {
  const files = ['/opt/bin/neuralforge'];
  assert.equal(findServer(places(files, { setting: '/gone/neuralforge' })), null);
});

test('a bare name in the setting is looked up on PATH', () => {
  const found = findServer(places(['/opt/bin/nf'], { setting: 'nf' }));
  assert.deepEqual(found, { command: '/opt/bin/nf', origin: 'setting' });
});

test('Windows has its own separator and ending', () => {
  const searchPath = 'C:\\Windows;C:\\Python\\Scripts';
  const files = ['C:\\Python\\Scripts\\neuralforge.exe'];
  const found = findServer(places(files, { searchPath, managed: null, platform: 'win32' }));
  assert.equal(found?.command, files[0]);
});

test('nothing anywhere is null', () => {
  assert.equal(findServer(places([])), null);
});
