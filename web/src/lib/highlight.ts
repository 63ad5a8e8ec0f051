// Colours for code, loaded when there is some: the core once, each language once.
import hljs from 'highlight.js/lib/core';
import type { LanguageFn } from 'highlight.js';

const languages: Record<string, () => Promise<{ default: LanguageFn }>> = {
  bash: () => import('highlight.js/lib/languages/bash'),
  c: () => import('highlight.js/lib/languages/c'),
  cpp: () => import('highlight.js/lib/languages/cpp'),
  csharp: () => import('highlight.js/lib/languages/csharp'),
  css: () => import('highlight.js/lib/languages/css'),
  diff: () => import('highlight.js/lib/languages/diff'),
  dockerfile: () => import('highlight.js/lib/languages/dockerfile'),
  go: () => import('highlight.js/lib/languages/go'),
  ini: () => import('highlight.js/lib/languages/ini'),
  java: () => import('highlight.js/lib/languages/java'),
  javascript: () => import('highlight.js/lib/languages/javascript'),
  json: () => import('highlight.js/lib/languages/json'),
  kotlin: () => import('highlight.js/lib/languages/kotlin'),
  lua: () => import('highlight.js/lib/languages/lua'),
  makefile: () => import('highlight.js/lib/languages/makefile'),
  markdown: () => import('highlight.js/lib/languages/markdown'),
  php: () => import('highlight.js/lib/languages/php'),
  python: () => import('highlight.js/lib/languages/python'),
  r: () => import('highlight.js/lib/languages/r'),
  ruby: () => import('highlight.js/lib/languages/ruby'),
  rust: () => import('highlight.js/lib/languages/rust'),
  sql: () => import('highlight.js/lib/languages/sql'),
  swift: () => import('highlight.js/lib/languages/swift'),
  typescript: () => import('highlight.js/lib/languages/typescript'),
  xml: () => import('highlight.js/lib/languages/xml'),
  yaml: () => import('highlight.js/lib/languages/yaml'),
};
const also: Record<string, string> = {
  sh: 'bash', shell: 'bash', console: 'bash', zsh: 'bash', h: 'c', 'c++': 'cpp', cc: 'cpp', hpp: 'cpp', cs: 'csharp', 'c#': 'csharp',
  golang: 'go', toml: 'ini', conf: 'ini', js: 'javascript', jsx: 'javascript', mjs: 'javascript', node: 'javascript', kt: 'kotlin',
  make: 'makefile', md: 'markdown', py: 'python', python3: 'python', rb: 'ruby', rs: 'rust', ts: 'typescript', tsx: 'typescript',
  html: 'xml', svg: 'xml', svelte: 'xml', yml: 'yaml', patch: 'diff', docker: 'dockerfile',
};

export async function highlight(el: HTMLElement) {
  const asked = el.dataset.lang ?? '';
  const name = also[asked] ?? asked;
  const text = el.textContent ?? '';
  if (!languages[name] || text.length > 100_000) return;
  if (!hljs.getLanguage(name)) hljs.registerLanguage(name, (await languages[name]!()).default);
  if (el.isConnected && el.textContent === text) el.innerHTML = hljs.highlight(text, { language: name, ignoreIllegals: true }).value;
}
