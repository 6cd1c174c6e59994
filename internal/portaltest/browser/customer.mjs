// A customer's way through the pages: everything that there is to do, done by
// clicking and typing, and looked for at the receiver.

import { createHmac } from 'node:crypto';
import { assert, config, control, equal, home, run, until } from './harness.mjs';

const ok = { status: 200, headers: { 'Content-Type': 'application/json' }, body: '{"received":true}' };
const message = { agent: { id: 'a1', name: 'Ada' }, room: 'r', content: 'hello' };
const received = async (id) => (await control('received')).filter((r) => r.Headers['Webhook-Id']?.[0] === id);
const idOf = (page) => new URL(page.url()).pathname.split('/').at(-1);

// make creates a webhook through the form and returns its ID and secret.
async function make(page, { name = 'CRM', events = 'agent.message' } = {}) {
  await page.goto(home + 'new');
  await page.fill('#name', name);
  await page.fill('#url', config.receiver);
  await page.check(`input[name=events][value="${events}"]`);
  await page.click('text=Create the webhook');
  await page.waitForSelector('#the-secret');
  const secret = await page.inputValue('#the-secret');
  const link = await page.getAttribute('a:has-text("Go to the webhook")', 'href');
  return { id: link.split('/').at(-1), secret };
}

await run({
  'empty list leads to the form, and the form to a secret that signs': async (world) => {
    await control('answer', ok);
    const page = await world.visit();
    await page.click('text=Add a webhook');
    await page.fill('#name', 'CRM');
    await page.fill('#url', config.receiver);
    await page.fill('#description', 'the timeline');
    await page.check('input[value="agent.message"]');
    await page.click('text=Sample of the data >> nth=1');
    await page.waitForSelector('text=How can I help?');
    await page.fill('[name="headerName.0"]', 'X-Token');
    await page.fill('[name="headerValue.0"]', 'only for you');
    await page.click('text=Add a header');
    await page.fill('[name="headerName.1"]', 'X-Team');
    await page.fill('[name="headerValue.1"]', 'red');
    await page.fill('#timeout', '12.5');
    await page.fill('#maxRetries', '1');
    await page.fill('#rateLimit', '250');
    const answer = page.waitForResponse((r) => r.request().method() === 'POST');
    await page.click('text=Create the webhook');
    const response = await answer;
    equal([response.status(), response.headers()['cache-control']], [200, 'no-store'], 'the answer with the secret');
    const secret = await page.inputValue('#the-secret');
    assert(/^whsec_[A-Za-z0-9+/]{43}=$/.test(secret), 'a secret: ' + secret);
    await page.click('[data-copy=the-secret]');
    equal(await page.evaluate(() => navigator.clipboard.readText()), secret, 'what was copied');
    for (const [language, text] of [['Node.js', 'standardwebhooks'], ['Go', 'verify.Middleware'], ['Python', 'hmac.compare_digest']]) {
      await page.click(`label:has-text("${language}")`);
      assert(await page.locator('.panel:visible').textContent().then((t) => t.includes(text)), language + ' is shown');
    }
    assert(!page.url().includes('whsec') && /webhooks\/wh_\w+$/.test(page.url()), 'the address after it: ' + page.url());
    await world.axe(page, 'secret');

    // Loading again creates nothing and shows no secret.
    const id = idOf(page);
    await page.reload();
    assert(!(await page.content()).includes(secret), 'the secret is gone');
    equal((await control('webhooks', { tenant: world.tenant })).Items.length, 1, 'webhooks');
    await page.goto(home);
    assert(!(await page.content()).includes(secret), 'no secret in the list');

    // It is what was asked for, and signs with that secret.
    const [hook] = (await control('webhooks', { tenant: world.tenant })).Items;
    equal([hook.ID, hook.Timeout, hook.MaxRetries, hook.RateLimit, hook.Description], [id, 12.5e9, 1, 250, 'the timeline'], 'settings');
    const [{ ID }] = await control('publish', { tenant: world.tenant, type: 'agent.message', data: message });
    const [got] = await until('delivered', async () => { const r = await received(ID); return r.length && r; });
    equal(got.Headers['X-Webhook-Signature'][0], createHmac('sha256', secret).update(got.Body).digest('hex'), 'signature');
    equal([got.Headers['X-Token'][0], got.Headers['X-Team'][0]], ['only for you', 'red'], 'custom headers');
  },

  'what is wrong stands beside the field and nothing typed is lost': async (world) => {
    const page = await world.visit('new', { tolerate: [400] });
    await page.fill('#url', 'https://192.168.1.7/hook?a=<b>');
    await page.fill('#description', 'kept');
    await page.fill('#timeout', 'soon');
    await page.fill('#maxRetries', '11');
    await page.click('summary:has-text("Other types")');
    await page.fill('#patterns', 'order..paid\ninvoice.*');
    await page.fill('[name="headerName.0"]', 'Content-Length');
    await page.fill('[name="headerValue.0"]', '7');
    await page.click('text=Create the webhook');
    await page.waitForSelector('.note.bad');
    for (const [field, text] of [['name', 'required'], ['url', 'public'], ['events', 'order..paid'], ['headers', 'reserved'], ['timeout', '1 to 300'], ['maxRetries', '0 to 10']]) {
      const err = await page.locator(`#${field}-err`).textContent();
      assert(err.includes(text), `${field}: ${err}`);
      assert((await page.locator('.note.bad').textContent()).includes(text), `summary of ${field}`);
    }
    equal(await page.evaluate(() => document.activeElement.className), 'note bad', 'focus');
    equal([await page.inputValue('#url'), await page.inputValue('#description'), await page.inputValue('#timeout'), await page.inputValue('#patterns'), await page.inputValue('[name="headerValue.0"]')],
      ['https://192.168.1.7/hook?a=<b>', 'kept', 'soon', 'order..paid\ninvoice.*', '7'], 'what was typed');
    await world.axe(page, 'refused');
    equal((await control('webhooks', { tenant: world.tenant })).Items.length, 0, 'webhooks');
  },

  'TLS verification takes a confirmation to switch off, and warns as long as it is': async (world) => {
    const page = await world.visit('', { tolerate: [400] });
    const { id } = await make(page);
    await page.goto(`${home}webhooks/${id}/edit`);
    assert(!(await page.isVisible('#tls-sure')), 'no confirmation while it is on');
    await page.check('#tls-off');
    await page.click('button:has-text("Save")');
    assert((await page.locator('#sslVerification-err').textContent()).includes('confirmed'), 'it has to be confirmed');
    await page.check('#tls-sure');
    await page.click('button:has-text("Save")');
    await page.waitForSelector('text=TLS verification is off.');
    await page.reload();
    await page.waitForSelector('text=TLS verification is off.');
    await page.goto(home);
    await page.waitForSelector('text=TLS unverified');
    await page.goto(`${home}webhooks/${id}/edit`);
    await page.fill('#description', 'other'); // it stays as it is without another confirmation
    await page.click('button:has-text("Save")');
    await page.waitForSelector('text=TLS verification is off.');
    await page.click('text=Turn verification on');
    await page.check('#tls-on');
    await page.click('button:has-text("Save")');
    await page.waitForSelector('text=The settings were saved');
    equal(await page.locator('text=TLS verification is off.').count(), 0, 'warnings');
  },

  'values of headers are never shown, stay when left alone, and can be replaced and removed': async (world) => {
    const page = await world.visit('new');
    await page.fill('#name', 'Headers');
    await page.fill('#url', config.receiver);
    await page.check('#ev-all');
    for (const [i, [name, value]] of [['X-Keep', 'value-one'], ['X-Replace', 'value-two'], ['X-Remove', 'value-three']].entries()) {
      if (i > 0) await page.click('text=Add a header');
      await page.fill(`[name="headerName.${i}"]`, name);
      await page.fill(`[name="headerValue.${i}"]`, value);
    }
    await page.click('text=Create the webhook');
    await page.waitForSelector('#the-secret');
    const id = idOf(page);
    await page.goto(`${home}webhooks/${id}`);
    assert(!/value-(one|two|three)/.test(await page.content()), 'no value on the page');
    await page.click('a:has-text("Edit")');
    assert(!/value-(one|two|three)/.test(await page.content()), 'no value in the form');
    await page.fill('[aria-label="New value of X-Replace"]', 'value-new');
    await page.check('label:has-text("Remove X-Remove")');
    await page.click('button:has-text("Save")');
    await page.waitForSelector('text=The settings were saved');
    equal(await control('headers', { tenant: world.tenant, webhook: id }), { 'X-Keep': 'value-one', 'X-Replace': 'value-new' }, 'headers');
  },

  'of two editors the second is told, with nothing lost': async (world) => {
    const page = await world.visit('', { tolerate: [409] });
    const { id } = await make(page);
    await page.goto(`${home}webhooks/${id}/edit`);
    await page.fill('#name', 'My new name');
    await control('edit', { tenant: world.tenant, webhook: id, body: 'their description' });
    await page.click('button:has-text("Save")');
    const note = await page.locator('.note.warn').first().textContent();
    assert(note.includes('Someone else saved') && note.includes('their description'), note);
    equal(await page.inputValue('#name'), 'My new name', 'what was typed');
    await world.axe(page, 'conflict');
    await page.fill('#description', 'merged');
    await page.click('button:has-text("Save")');
    await page.waitForSelector('text=The settings were saved');
    const [hook] = (await control('webhooks', { tenant: world.tenant })).Items;
    equal([hook.Name, hook.Description], ['My new name', 'merged'], 'after it');
  },

  'a test event is sent and its result shows up by itself; then resent': async (world) => {
    const page = await world.visit();
    const { id, secret } = await make(page);
    await control('answer', { ...ok, hang: true });
    await page.click('text=Send a test event');
    await page.check('label:has-text("agent.action")');
    await page.click('button:has-text("Send")');
    await page.waitForURL(/deliveries\//);
    await page.waitForSelector('text=The test event is on its way');
    await page.waitForSelector('.badge:has-text("Pending")');
    const delivery = idOf(page).split('?')[0];
    await control('answer', { status: 201, headers: { 'Content-Type': 'text/plain', 'X-Request-Id': 'abc' }, body: 'thanks' });
    await page.waitForSelector('#run-state:has-text("Succeeded")');
    await page.waitForSelector('#attempts >> text=/201|200/');
    await control('answer', { status: 202, headers: { 'Content-Type': 'text/plain' }, body: 'thanks again' });
    await page.click('#resend');
    await page.waitForSelector('text=Sent again');
    await page.waitForSelector('.attempt >> nth=1');
    await page.waitForSelector('text=thanks again');
    await page.goto(`${home}deliveries/${delivery}`);

    // The request is shown as it was sent.
    const id2 = await page.locator('#event-id').textContent();
    const got = (await received(id2)).at(-1);
    equal(await page.locator('#raw').textContent(), got.Body, 'raw body');
    const headers = await page.$eval('.request .pairs', (dl) => Object.fromEntries([...dl.querySelectorAll('dt')].map((dt) => [dt.textContent, dt.nextElementSibling.textContent])));
    for (const name of ['Webhook-Id', 'Webhook-Timestamp', 'Webhook-Signature', 'X-Webhook-Signature', 'X-Webhook-Event', 'X-Webhook-Attempt', 'Content-Type', 'User-Agent']) {
      equal(headers[name], got.Headers[name]?.[0], 'header ' + name);
    }
    equal(headers['X-Webhook-Signature'], createHmac('sha256', secret).update(got.Body).digest('hex'), 'signature');
    await page.click('label:has-text("Raw")');
    assert(await page.isVisible('#raw'), 'raw is shown');
    await page.click('nav[aria-label="Request of attempt"] a >> nth=0');
    await page.waitForSelector('nav[aria-label="Request of attempt"] [aria-current]:has-text("#1")');
    await world.axe(page, 'delivery');
  },

  'new deliveries show up in the list by themselves, and not while paused or hidden': async (world) => {
    await control('answer', ok);
    const page = await world.visit('', { clock: true });
    const { id } = await make(page);
    await page.goto(`${home}webhooks/${id}`);
    await page.waitForSelector('text=Nothing has been sent here yet');
    await control('publish', { tenant: world.tenant, type: 'agent.message', data: message, repeat: 3 });
    await page.waitForSelector('.runs tbody tr >> nth=2');
    await until('announced', async () => /new deliver/.test(await page.locator('#announce').textContent()));
    await until('counted', async () => (await page.locator('.tiles .big').nth(1).textContent()) === '3');
    assert(page.url().endsWith(id), 'the page was not left');

    await page.click('#live-switch button');
    equal((await page.locator('#live-switch').textContent()).trim(), 'Paused', 'switch');
    let asked = 0;
    page.on('request', () => asked++);
    await control('publish', { tenant: world.tenant, type: 'agent.message', data: message });
    await page.clock.runFor(20000);
    equal(asked, 0, 'requests while paused');
    await page.click('#live-switch button');
    await page.waitForSelector('.runs tbody tr >> nth=3');
    await page.evaluate(() => { Object.defineProperty(document, 'hidden', { get: () => true, configurable: true }); document.dispatchEvent(new Event('visibilitychange')); });
    asked = 0;
    await page.clock.runFor(20000);
    equal(asked, 0, 'requests while hidden');

    // The list of webhooks too.
    await page.goto(home);
    await control('create', { tenant: world.tenant, body: 'Made elsewhere' });
    await page.waitForSelector('text=Made elsewhere');
  },

  'filters of deliveries': async (world) => {
    const page = await world.visit('', { tolerate: [400] });
    const { id } = await make(page, { events: '*' });
    await control('answer', ok);
    await control('publish', { tenant: world.tenant, type: 'agent.message', data: message, repeat: 28 });
    await page.goto(`${home}webhooks/${id}`);
    await until('all delivered', async () => (await page.locator('.tiles .big').nth(1).textContent()) === '28');
    await page.goto(`${home}webhooks/${id}?state=succeeded`);
    equal(await page.locator('.runs tbody tr').count(), 25, 'on the first page');
    await page.click('text=Older');
    await page.waitForSelector('text=Newest');
    await until('rest', async () => await page.locator('.runs tbody tr').count() === 3);
    await control('answer', { ...ok, status: 410 });
    await control('publish', { tenant: world.tenant, type: 'user.message', data: message });
    await page.goto(`${home}webhooks/${id}`);
    await page.waitForSelector('.runs >> text=Failed');
    await page.selectOption('#f-state', 'failed');
    await page.click('button:has-text("Filter")');
    await page.waitForURL(/state=failed/);
    await until('one failed', async () => await page.locator('.runs tbody tr').count() === 1);
    await page.fill('#f-type', 'agent.message');
    await page.click('button:has-text("Filter")');
    await page.waitForSelector('text=No delivery matches these filters');
    await page.click('.filters >> text=Clear');
    await page.selectOption('#f-time', 'custom');
    await page.fill('#f-from', '2020-01-01T00:00');
    await page.fill('#f-to', '2020-01-02T00:00');
    await page.click('button:has-text("Filter")');
    await page.waitForSelector('text=No delivery matches these filters');
    await page.selectOption('#f-time', '1h');
    await page.fill('#f-type', 'user.message');
    await page.selectOption('#f-state', '');
    await page.click('button:has-text("Filter")');
    await page.waitForSelector('.runs tbody tr');
    equal(await page.locator('.runs tbody tr').count(), 1, 'of that type');
    await page.click('.seg >> text=7 days'); // the filters stay
    await page.waitForSelector('.seg [aria-current]:has-text("7 days")');
    equal(await page.inputValue('#f-type'), 'user.message', 'the filter after it');
    await page.goto(`${home}webhooks/${id}?type=%00`);
    await page.waitForSelector('text=These filters cannot be used');
  },

  'rotate, disable, enable, delete': async (world) => {
    const page = await world.visit('', { tolerate: [400, 404] });
    const { id, secret } = await make(page, { name: 'Doomed' });
    await page.goto(`${home}webhooks/${id}`);
    await page.click('text=Rotate the secret…');
    assert((await page.locator('main').textContent()).includes('What your receiver must do'), 'what the receiver must do');
    const answer = page.waitForResponse((r) => r.request().method() === 'POST');
    await page.click('text=Rotate and show');
    equal((await answer).headers()['cache-control'], 'no-store', 'the answer with the secret');
    const fresh = await page.inputValue('#the-secret');
    assert(fresh !== secret && !page.url().includes('whsec'), 'a new secret');
    await page.reload();
    assert(!(await page.content()).includes(fresh), 'it is gone');
    await control('answer', ok);
    const [{ ID }] = await control('publish', { tenant: world.tenant, type: 'agent.message', data: message });
    const [got] = await until('delivered', async () => { const r = await received(ID); return r.length && r; });
    equal(got.Headers['X-Webhook-Signature'][0], createHmac('sha256', fresh).update(got.Body).digest('hex'), 'signed with the new one');
    equal(got.Headers['Webhook-Signature'][0].split(' ').length, 2, 'signatures while both hold');

    await page.goto(`${home}webhooks/${id}`);
    await page.click('text=Disable…');
    await page.fill('#reason', 'moving house');
    await page.click('button:has-text("Disable")');
    await page.waitForSelector('text=moving house');
    equal(await page.locator('text=Send test event').count(), 0, 'test buttons');
    await page.goto(home);
    await page.waitForSelector('.hooks >> text=moving house');
    await page.click('.hooks >> text=Doomed');
    await page.click('button:has-text("Enable it")');
    await page.waitForSelector('text=The webhook is active again');
    await page.click('text=Delete…');
    await page.click('button:has-text("Delete")');
    await page.waitForSelector('#sure-err');
    equal((await control('webhooks', { tenant: world.tenant })).Items.length, 1, 'webhooks');
    await page.check('#sure');
    await page.click('button:has-text("Delete")');
    await page.waitForSelector('text=The webhook was deleted');
    equal((await control('webhooks', { tenant: world.tenant })).Items.length, 0, 'webhooks');
    await page.goto(`${home}webhooks/${id}`);
    await page.waitForSelector('text=Page not found');
  },

  'replay what failed, counted before, to the end': async (world) => {
    const page = await world.visit();
    const { id } = await make(page, { events: '*' });
    await control('answer', ok);
    await page.goto(`${home}webhooks/${id}/disable`);
    await page.click('button:has-text("Disable")');
    await control('publish', { tenant: world.tenant, type: 'agent.message', data: message, repeat: 1100 });
    await page.goto(`${home}webhooks/${id}/replay`);
    await page.check('#missing');
    await page.click('text=Count them');
    await page.waitForSelector('.count:has-text("1,100")');
    equal(await page.locator('text=Replay them').count(), 0, 'buttons while disabled');
    await page.goto(`${home}webhooks/${id}`);
    await page.click('button:has-text("Enable it")');
    await page.click('text=Replay…');
    await page.check('#missing');
    await page.click('text=Count them');
    await page.waitForSelector('.count:has-text("1,100")');
    await world.axe(page, 'counted');
    await page.click('text=Replay them');
    await page.waitForSelector('#progress');
    await page.waitForSelector('text=Watch them arrive');
    await world.axe(page, 'replayed');
    equal(await page.locator('.count').textContent(), '1,100 deliveries', 'done');
    await page.click('text=Watch them arrive');
    await until('all delivered', async () => (await page.locator('.tiles .big').nth(1).textContent()) === '1,100', 60000);
  },

  'search and pages of webhooks': async (world) => {
    for (let i = 0; i < 27; i++) await control('create', { tenant: world.tenant, body: `Hook ${i}` });
    const page = await world.visit();
    equal(await page.locator('.hooks tbody tr').count(), 25, 'on the first page');
    await page.click('text=Next page');
    await page.waitForSelector('text=First page');
    equal(await page.locator('.hooks tbody tr').count(), 2, 'on the second');
    await page.fill('#q', 'hook 13');
    await page.keyboard.press('Enter');
    await page.waitForSelector('.hooks >> text=Hook 13');
    equal(await page.locator('.hooks tbody tr').count(), 1, 'found');
    await page.fill('#q', '"><b>none');
    await page.click('button:has-text("Search")');
    await page.waitForSelector('text=Nothing matches');
  },

  'who may only look sees no control, and is refused': async (world) => {
    const manager = await world.visit();
    const { id } = await make(manager);
    await manager.goto(`${home}webhooks/${id}/edit`);
    await manager.fill('#url', config.receiver + '?token=private');
    await manager.click('button:has-text("Save")');
    await control('answer', ok);
    await control('publish', { tenant: world.tenant, type: 'agent.message', data: message });
    const page = await world.visit('', { role: 'view', tolerate: [403] });
    await page.waitForSelector('text=View only');
    const writes = 'form[method=post], a[href$="/edit"], a[href$="new"], a[href$="/secret"], a[href$="/delete"], a[href$="/replay"], a[href$="/test"]';
    equal(await page.locator(writes).count(), 0, 'controls in the list');
    await page.click('.hooks >> text=CRM');
    equal(await page.locator(writes).count(), 0, 'controls of the webhook');
    assert(!(await page.content()).includes('private'), 'the query is hidden');
    await page.waitForSelector('.runs tbody tr');
    await page.click('.runs .row-link');
    await page.waitForSelector('#request');
    equal(await page.locator(writes).count(), 0, 'controls of the delivery');
    assert(!(await page.content()).includes('private'), 'the query is hidden there too');
    for (const path of ['new', `webhooks/${id}/edit`, `webhooks/${id}/secret`, `webhooks/${id}/delete`, `webhooks/${id}/replay`]) {
      equal((await page.goto(home + path)).status(), 403, path);
    }
    const status = await page.evaluate(async (url) => (await fetch(url, { method: 'POST', body: new URLSearchParams({ sure: 'yes' }) })).status, `${home}webhooks/${id}/delete`);
    equal(status, 403, 'a write by hand');
    equal((await control('webhooks', { tenant: world.tenant })).Items.length, 1, 'webhooks');
  },

  'with the keyboard alone': async (world) => {
    const page = await world.visit();
    const press = (key) => page.keyboard.press(key);
    const focused = () => page.evaluate(() => { const a = document.activeElement; return a.id || a.name || a.textContent.trim(); });
    const tabTo = async (what) => {
      for (let i = 0; i < 80; i++) {
        if (await focused() === what) return;
        await press('Tab');
      }
      throw new Error(`Tab does not lead to ${what}, but to ${await focused()}`);
    };
    await press('Tab');
    equal(await focused(), 'Skip to the content', 'the first stop');
    await press('Enter');
    await tabTo('Add a webhook');
    await press('Enter');
    await page.waitForURL(/new$/);
    await tabTo('name');
    await page.keyboard.type('By keyboard');
    await tabTo('url');
    await page.keyboard.type(config.receiver);
    await tabTo('ev-1');
    await press('Space');
    await press('Enter'); // submits from any field
    await page.waitForSelector('#the-secret');
    assert((await focused()).startsWith('By keyboard was created'), 'focus is at the news: ' + await focused());
    await tabTo('lang-node');
    await press('ArrowRight');
    await page.waitForSelector('#code-go:visible');
    await tabTo('Go to the webhook');
    await press('Enter');
    await page.waitForSelector('h1:has-text("By keyboard")');
    equal((await control('webhooks', { tenant: world.tenant })).Items[0].Events, ['agent.message'], 'events');
  },

  'without a script': async (world) => {
    await control('answer', { ...ok, status: 410, body: 'go away' });
    const page = await world.visit('new', { js: false, tolerate: [400] });
    await page.fill('#name', 'No script');
    await page.fill('#url', config.receiver);
    await page.click('text=Add a header'); // asks the server for another row
    await page.fill('[name="headerName.1"]', 'X-Second');
    await page.fill('[name="headerValue.1"]', 'two');
    equal(await page.inputValue('#name'), 'No script', 'what was typed');
    await page.click('text=Create the webhook');
    await page.waitForSelector('#events-err');
    await page.check('#ev-all');
    await page.click('text=Create the webhook');
    await page.waitForSelector('#the-secret');
    equal(await page.locator('button[data-copy]:visible').count(), 0, 'buttons that do nothing');
    await page.click('label:has-text("Python")');
    assert(await page.isVisible('#code-python'), 'tabs');
    await page.click('text=Go to the webhook');
    await page.click('text=Send test event >> nth=0');
    await page.click('button:has-text("Send")');
    await page.waitForSelector('text=The test event is on its way');
    await until('failed', async () => { await page.reload(); return await page.locator('#run-state').textContent() === 'Failed'; });
    await page.waitForSelector('text=go away');
    await page.click('p >> text=No script');
    await page.waitForSelector('text=410 Gone');
    await page.click('button:has-text("Enable it")');
    await control('answer', ok);
    await page.click('a:has-text("Replay…")');
    await page.click('text=Count them');
    await page.waitForSelector('.count:has-text("1")');
    await page.click('text=Replay them');
    await until('done', async () => {
      if (await page.locator('text=Watch them arrive').count()) return true;
      await page.click('text=Continue');
      return false;
    });
    await page.click('text=Watch them arrive');
    await page.waitForURL((url) => !url.pathname.endsWith('/replay'));
    await until('replayed', async () => { await page.reload(); return await page.locator('.runs >> text=Succeeded').count() === 1; });
    await page.click('text=Delete…');
    await page.check('#sure');
    await page.click('button:has-text("Delete")');
    await page.waitForSelector('text=The webhook was deleted');
  },
});
