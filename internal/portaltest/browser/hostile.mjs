// Everything that somebody else has a say in holds what breaks pages: names and
// settings, payloads, what receivers answer, addresses of pages.

import { assert, config, control, equal, home, run, until } from './harness.mjs';

// Each begins or ends something in one of the languages that meet in a page.
const corpus = [
  '"><script>alert(1)</script>', '</script><script>alert(1)</script>', "';alert(1)//", '<img src=x onerror=alert(1)>', '<svg onload=alert(1)>',
  '</title><script>alert(1)</script>', '</textarea><script>alert(1)</script>', '<style>*{display:none}</style>', '<base href="https://evil.example/">',
  '<iframe srcdoc="<script>parent.alert(1)</script>">', '<form action="https://evil.example/"><input name=q>', '<meta http-equiv=refresh content="0;url=https://evil.example/">',
  '{{7*7}}${7*7}<%= 7*7 %>', 'javascript:alert(1)', '<link rel=stylesheet href=https://evil.example/x.css>', '--><script>alert(1)</script>', ']]><script>alert(1)</script>',
  '\u202Egnp.exe', '\u2066\u2067\u2028\u2029\u200B\uFEFF', 'a\u0000b\u001B[31m\u0007', '<a href="javascript:alert(1)" autofocus onfocus=alert(1)>x</a>',
];
const printable = corpus.filter((s) => !/[\u0000-\u001f\u2028\u2029]/.test(s));
const sample = (i) => printable[i % printable.length];

// calm looks at a page for a while: no script of others ran, and nothing but text
// came of what is foreign. What the page may not do, the world notes by itself.
async function calm(page, what) {
  await page.waitForLoadState();
  const odd = await page.evaluate(() => [...document.querySelectorAll('script:not([src$="portal.js"]):not([src*="assets/portal.js?v="]), iframe, base, style, object, embed, meta[http-equiv], img, [onload], [onerror], [onfocus], form[action^="https:"]')].map((e) => e.outerHTML.slice(0, 120)));
  equal(odd, [], what + ': elements of others');
  const links = await page.evaluate(() => [...document.querySelectorAll('a[href]')].map((a) => a.href).filter((h) => !h.startsWith(location.origin + '/') && h !== 'https://www.standardwebhooks.com/'));
  equal(links, [], what + ': links that lead elsewhere');
  const hidden = await page.evaluate(() => /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/.exec(document.body.innerText)?.[0]?.codePointAt(0).toString(16) ?? '');
  equal(hidden, '', what + ': characters that are not to be seen');
  assert(await page.isVisible('main'), what + ': it can be seen');
}

await run({
  'names, settings, payloads and answers are text': async (world) => {
    const page = await world.visit('new', { tolerate: [400] });
    for (const [i, text] of printable.entries()) {
      if (i % 2 > 0) continue; // the other half comes in the other fields
      await page.goto(home + 'new');
      await page.fill('#name', text);
      await page.fill('#description', sample(i + 1));
      await page.fill('#url', `${config.receiver}?q=${encodeURIComponent(sample(i + 2))}`);
      await page.check('#ev-all');
      await page.fill('[name="headerName.0"]', 'X-Hostile');
      await page.fill('[name="headerValue.0"]', sample(i).replace(/[^ -~]/g, '?'));
      await page.click('text=Create the webhook');
      await page.waitForSelector('#the-secret', { timeout: 15000 });
      await calm(page, 'created');
    }
    const hooks = (await control('webhooks', { tenant: world.tenant })).Items;
    await control('answer', { status: 500, headers: { 'Content-Type': 'text/html', Server: '<script>alert(1)</script>' }, body: corpus.join('\n') });
    const data = Object.fromEntries(corpus.map((s, i) => [i % 2 ? 'k' + i : s || 'x', s]));
    const [{ ID }] = await control('publish', { tenant: world.tenant, type: 'agent.message', data });
    await until('delivered', async () => (await control('received')).filter((r) => r.Headers['Webhook-Id'][0] === ID).length >= hooks.length);
    await page.goto(home);
    await calm(page, 'list');
    for (const hook of hooks.slice(0, 3)) {
      for (const path of ['', '/edit', '/test', '/secret', '/disable', '/delete', '/replay']) {
        await page.goto(`${home}webhooks/${hook.ID}${path}`);
        await calm(page, 'webhook' + path);
      }
    }
    await page.goto(`${home}webhooks/${hooks[0].ID}`);
    await page.waitForSelector('.runs .row-link');
    await page.click('.runs .row-link');
    await page.waitForSelector('text=500 Internal Server Error');
    await calm(page, 'delivery');
    const shown = await page.locator('.attempt pre').first().textContent();
    assert(shown.includes('<script>alert(1)</script>') && shown.includes('⟨U+202E⟩') && shown.includes('a␀b␛[31m␇'), 'the answer as text: ' + shown.slice(-200));
    await page.click('label:has-text("Raw")');
    assert((await page.locator('#raw').textContent()).includes('⟨U+202E⟩gnp.exe'), 'what turns text around is seen');
    await page.waitForResponse((r) => r.url().includes('live=1')); // also what comes later
    await calm(page, 'delivery, later');
    await world.axe(page, 'hostile delivery');
  },

  'lines of a megabyte and bytes that are no text': async (world) => {
    const page = await world.visit('', { tolerate: [] });
    await control('create', { tenant: world.tenant, body: 'Big' });
    await control('answer', { status: 400, headers: { 'Content-Type': 'text/html' }, body: '<b>x', repeat: 1 << 18 });
    const [{ ID }] = await control('publish', { tenant: world.tenant, type: 'agent.message', data: { long: '<i>'.repeat(80000) } });
    await until('delivered', async () => (await control('received')).some((r) => r.Headers['Webhook-Id'][0] === ID));
    await page.goto(home);
    await page.click('text=Big');
    await page.waitForSelector('.runs .row-link');
    await page.click('.runs .row-link');
    await page.waitForSelector('text=400 Bad Request');
    assert((await page.locator('#raw').textContent()).includes('<i>'.repeat(80000)), 'the whole body');
    await calm(page, 'big delivery');
    await world.axe(page, 'big delivery');
  },

  'addresses of pages put nothing into them': async (world) => {
    const page = await world.visit('', { tolerate: [400, 404] });
    await control('create', { tenant: world.tenant, body: 'One' });
    const [hook] = (await control('webhooks', { tenant: world.tenant })).Items;
    for (const [i, text] of corpus.entries()) {
      const q = encodeURIComponent(text);
      const paths = [`?q=${q}`, `?done=${q}`, `?cursor=${q}`, `webhooks/${hook.ID}?state=${q}&type=${q}&time=custom&from=${q}&to=${q}&range=${q}`, `webhooks/${hook.ID}/replay?back=custom&since=${q}&until=${q}&type=${q}&failed=1`, `webhooks/${q}`, `deliveries/${q}`, q];
      for (const path of [paths[i % 8], ...i % 2 ? [] : [paths[(i + 3) % 8]]]) {
        await page.goto(home + path);
        await calm(page, path);
      }
    }
  },
});
