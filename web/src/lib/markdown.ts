// Model text is not to be trusted: HTML in it is shown as text, images become links (loading one would tell somebody
// that you read this), and what is left passes DOMPurify with a short list of tags.
import DOMPurify from 'dompurify';
import { Marked, type Token, type TokensList } from 'marked';

function escape(s: string): string {
  return s.replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);
}

const marked = new Marked({
  gfm: true,
  breaks: true,
  renderer: {
    html({ text }) {
      return /^<br\s*\/?>$/i.test(text.trim()) ? '<br>' : escape(text);
    },
    image({ href, text }) {
      return `<a href="${escape(href)}">${escape(`image: ${text || href}`)}</a>`;
    },
    checkbox({ checked }) {
      return checked ? '☑ ' : '☐ ';
    },
    code({ text, lang }) {
      const name = (lang ?? '').match(/^[\w+#.-]*/)![0].toLowerCase();
      return `<div class="code"><div class="code-bar"><span>${escape(name || 'text')}</span>` +
        '<button type="button" class="copy" aria-label="Copy code">Copy</button></div>' +
        `<pre tabindex="0"><code data-lang="${escape(name)}">${escape(text)}\n</code></pre></div>`;
    },
  },
});

const purify = DOMPurify(window);
purify.addHook('afterSanitizeAttributes', (n) => {
  if (n.tagName !== 'A') return;
  if (!n.hasAttribute('href')) return;
  n.setAttribute('target', '_blank');
  n.setAttribute('rel', 'noopener noreferrer nofollow');
});
const rules = {
  ALLOWED_TAGS: ['a', 'b', 'blockquote', 'br', 'button', 'code', 'del', 'div', 'em', 'h1', 'h2', 'h3', 'h4', 'h5', 'h6',
    'hr', 'i', 'li', 'ol', 'p', 'pre', 's', 'span', 'strong', 'sub', 'sup', 'table', 'tbody', 'td', 'th', 'thead', 'tr', 'ul'],
  ALLOWED_ATTR: ['align', 'aria-label', 'class', 'data-lang', 'href', 'rel', 'start', 'tabindex', 'target', 'title', 'type'],
  ALLOWED_URI_REGEXP: /^(?:https?:|mailto:)/i,
  ALLOW_DATA_ATTR: false,
  // These hold no addresses, so the rule above is not for them.
  ADD_URI_SAFE_ATTR: ['align', 'data-lang', 'rel', 'start', 'tabindex', 'target', 'type'],
};

export function clean(html: string): string {
  return purify.sanitize(html, rules);
}

export interface Block { key: string; html: string; code: boolean }

// One piece of HTML per top-level block, so that a growing answer redraws only its last one.
export function blocks(text: string, known: Map<string, string>): Block[] {
  const tokens = marked.lexer(text);
  const links = Object.keys(tokens.links).length;
  return tokens.filter((t) => t.type !== 'space' && t.type !== 'def').map((t: Token, i: number) => {
    const key = `${i}:${links}:${t.raw}`;
    let html = known.get(key);
    if (html === undefined) {
      const one = Object.assign([t], { links: tokens.links }) as TokensList;
      html = clean(marked.parser(one));
      known.set(key, html);
    }
    return { key: `${i}:${t.type}`, html, code: html.includes('data-lang') };
  });
}
