
'use strict';
(() => {
  const POLL_MS = 2000;
  const ANSWER_MS = 10000;
  // Rates are over at least so long, as far as the page has been open.
  const RATE_MS = 10000;
  const MINUTE = 60000;
  const STORED = 'nginx-openai token';
  // Other outcomes are caused by the client: client_error, refused, aborted.
  const FAILED = ['rate_limited', 'upstream_error', 'incomplete', 'no_key', 'unavailable', 'lease_lost'];
  const CAUSES = {
    configured_limit: 'at its configured limit', provider_limit: 'at the provider’s limit',
    rate_limited: 'rate limited', quota_exceeded: 'out of quota', invalid_key: 'invalid',
  };
  const NUMBER = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });
  const SMALL = new Intl.NumberFormat('en', { maximumFractionDigits: 1 });
  const $ = (id) => document.getElementById(id);

  let token = null;
  let timer = 0;
  let asking = null;
  let paused = false;
  let past = [];
  let shown = null;
  let seenAt = null;
  let said = '';

  // Names are of configurations and clients: text, never markup.
  const put = (node, text) => { if (node.textContent !== text) node.textContent = text; };
  const attribute = (node, name, value) => { if (node.getAttribute(name) !== value) node.setAttribute(name, value); };
  const clock = (ms) => new Date(ms).toLocaleTimeString([], { hour12: false });
  const day = (ms) => new Date(ms).toLocaleDateString([], { month: 'short', day: 'numeric' });
  const many = (n, one, more) => `${NUMBER.format(n)} ${n === 1 ? one : more}`;

  function duration(ms) {
    const s = Math.max(0, Math.round(ms / 1000));
    if (s < 60) return `${s} s`;
    if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`;
    if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor(s % 3600 / 60)} min`;
    return `${Math.floor(s / 86400)} d ${Math.floor(s % 86400 / 3600)} h`;
  }

  function until(time, now) {
    if (!time) return '';
    const at = Date.parse(time);
    const far = at - now > 43200000 ? `${day(at)}, ` : '';
    return { text: far + clock(at), note: `in ${duration(at - now)}` };
  }

  // Rows by their names: unchanged nodes are not touched.
  function sync(parent, items, make, change) {
    const known = new Map([...parent.children].map((node) => [node.dataset.name, node]));
    let at = parent.firstElementChild;
    for (const item of items) {
      let node = known.get(item.name);
      if (node) known.delete(item.name);
      else {
        node = make();
        node.dataset.name = item.name;
      }
      change(node, item);
      if (node === at) at = at.nextElementSibling;
      else parent.insertBefore(node, at);
    }
    known.forEach((node) => node.remove());
  }

  function table(id) {
    const table = $(id);
    const heads = [...table.tHead.rows[0].cells];
    // On narrow screens rows are no table rows to look at: they stay so to listen to.
    table.setAttribute('role', 'table');
    [table.tHead, table.tBodies[0]].forEach((part) => part.setAttribute('role', 'rowgroup'));
    table.tHead.rows[0].setAttribute('role', 'row');
    heads.forEach((head) => head.setAttribute('role', 'columnheader'));
    const make = () => {
      const row = document.createElement('tr');
      row.setAttribute('role', 'row');
      heads.forEach((head, at) => {
        const cell = document.createElement(at ? 'td' : 'th');
        cell.setAttribute('role', at ? 'cell' : 'rowheader');
        if (!at) cell.scope = 'row';
        cell.dataset.label = head.textContent;
        cell.className = head.className;
        cell.append(document.createElement('span'));
        row.append(cell);
      });
      return row;
    };
    const change = (row, item) => item.cells.forEach((told, at) => {
      const { text, note = '', level = '' } = typeof told === 'object' ? told : { text: String(told) };
      const cell = row.cells[at];
      cell.classList.toggle('void', text === '');
      put(cell.firstElementChild, text);
      attribute(cell.firstElementChild, 'class', level && `badge ${level}`);
      let small = cell.querySelector('small');
      if (note && !small) cell.append(small = document.createElement('small'));
      if (small && !note) small.remove();
      else if (small) put(small, note);
    });
    return (items) => sync(table.tBodies[0], items, make, change);
  }

  const tables = Object.fromEntries(
    ['pools', 'keys', 'locks', 'waiters', 'nodes', 'circuits', 'services'].map((id) => [id, table(id)]));

  const failed = (requests) => FAILED.reduce((sum, outcome) => sum + (requests[outcome] || 0), 0);
  const total = (counts) => Object.values(counts).reduce((sum, n) => sum + n, 0);
  const list = (counts, of) => of.filter((name) => counts[name]).map((name) => `${name} ${NUMBER.format(counts[name])}`).join(', ');

  function sums(services) {
    const sum = { requests: 0, failed: 0, tokens: 0, cost: 0, unpriced: 0, retries: 0, by: {}, of: new Map() };
    for (const it of services) {
      const own = { requests: total(it.requests), tokens: it.prompt_tokens + it.completion_tokens };
      sum.of.set(it.service, own);
      sum.requests += own.requests;
      sum.tokens += own.tokens;
      sum.failed += failed(it.requests);
      sum.cost += it.cost_dollars;
      sum.unpriced += it.unpriced_requests;
      sum.retries += it.retries;
      for (const [outcome, n] of Object.entries(it.requests)) sum.by[outcome] = (sum.by[outcome] || 0) + n;
    }
    return sum;
  }

  // What was so at least `ms` ago, or as long ago as is known.
  const before = (ms, now) => past.findLast((then) => now - then.at >= ms) || past[0];

  function rate(now, then, pick) {
    const seconds = (now.at - then.at) / 1000;
    if (seconds <= 0) return '–';
    return SMALL.format(Math.max(0, pick(now) - pick(then)) / seconds);
  }

  const money = (dollars) => `$${dollars && dollars < 1 ? dollars.toFixed(4) : NUMBER.format(Math.trunc(dollars)) + (dollars % 1).toFixed(2).slice(1)}`;

  function keyState(key) {
    if (key.state === 'cooling_down') {
      const grave = key.cause === 'quota_exceeded' || key.cause === 'invalid_key';
      return { text: CAUSES[key.cause] || key.cause, level: grave ? 'bad' : 'warn', rank: grave ? 0 : 1 };
    }
    if (key.state === 'probation') return { text: 'on probation', level: 'warn', rank: 2, note: `${key.may_have} of ${key.slots} slots` };
    return { text: key.in_flight ? 'in use' : 'ready', level: 'ok', rank: key.in_flight ? 3 : 4 };
  }

  const ADVICE = {
    invalid_key: 'Replace the key in the configuration or key file. Requests use the other keys meanwhile.',
    quota_exceeded: 'Add credit to the account of the key. To end the cool-down before that time, change a parameter in the line of the key; a reload alone is not sufficient. Requests use the other keys meanwhile.',
    rate_limited: 'No action is needed: the key is used again at that time. Add keys if requests wait.',
    failed: 'The access log has the status and verdict of each request, the error log the reason.',
    waiting: 'Add keys or slots if requests wait for long.',
  };

  // A key that paces itself, by its limits, is none.
  function problems(told, now) {
    const found = [];
    const add = (level, name, text, advice = '') => found.push({ level, name, text, advice });
    const more = (time) => `until ${until(time, now).text}, ${duration(Date.parse(time) - now)} more`;
    const tried = (name) => told.circuits.some((it) => it.upstream === name && it.state === 'half_open');
    for (const it of told.findings) {
      // Keys are told one by one, below.
      if (it.subject === 'keys' && it.status !== 'unhealthy') continue;
      const grave = it.status === 'unhealthy' || it.subject === 'pool' || (it.subject === 'upstream' && !tried(it.name));
      const nth = told.findings.filter((other) => other.subject === it.subject && other.name === it.name).indexOf(it);
      add(grave ? 'bad' : 'warn', `${it.subject} ${it.name} ${nth}`, it.message, it.advice);
    }
    for (const pool of told.pools) {
      for (const cause of ['invalid_key', 'quota_exceeded', 'rate_limited']) {
        const cooling = pool.keys.filter((key) => key.cause === cause).sort((a, b) => Date.parse(a.until) - Date.parse(b.until));
        if (!cooling.length) continue;
        const { text, level } = keyState(cooling[0]);
        if (cooling.length > 3) {
          add(level, `keys ${pool.pool} ${cause}`, `${cooling.length} keys of ${pool.pool} are ${text}, the first ${more(cooling[0].until)}.`, ADVICE[cause]);
          continue;
        }
        for (const key of cooling) {
          const error = key.last_error ? ` Last error: ${key.last_error}.` : '';
          add(level, `key ${pool.pool}/${key.key_id}`, `Key ${key.key_id} of ${pool.pool} is ${text}, ${more(key.until)}.${error}`, ADVICE[cause]);
        }
      }
      const [lost, of] = [pool.recent_failed, pool.recent_requests];
      if (lost && !found.some((it) => it.text.includes(`requests of pool ${pool.pool} failed`))) {
        add(lost * 20 > of ? 'bad' : 'warn', `failed ${pool.pool}`, `${NUMBER.format(lost)} of ${many(of, 'request', 'requests')} of pool ${pool.pool} failed in the last minute.`, ADVICE.failed);
      }
      if (pool.waiting) {
        add('warn', `waiting ${pool.pool}`, `${many(pool.waiting, 'request waits', 'requests wait')} for pool ${pool.pool}: ${pool.held} of ${pool.slots} slots are held.`, ADVICE.waiting);
      }
    }
    return found.sort((a, b) => (a.level > b.level) - (a.level < b.level));
  }

  function figure(name, text, note = '') {
    return { name, text, note };
  }

  function show(told) {
    shown = told;
    seenAt = Date.now();
    const now = Date.parse(told.timestamp);
    const sum = sums(told.services);
    const latest = past[past.length - 1];
    // Another nginx counts from zero.
    if (latest && (sum.requests < latest.sum.requests || now < latest.at)) past = [];
    const here = { at: now, sum };
    past.push(here);
    while (past.length > 2 && now - past[1].at > 1.2 * MINUTE) past.shift();
    const then = before(RATE_MS, now);

    const found = problems(told, now);
    const level = found.some((it) => it.level === 'bad') ? 'bad' : found.length ? 'warn' : 'ok';
    const headline = found.length ? many(found.length, 'problem', 'problems') : 'No problems';
    put($('summary'), headline);
    attribute($('health'), 'class', level);
    sync($('problems'), found, () => {
      const node = document.createElement('li');
      node.append(...['span', 'small'].map((name) => document.createElement(name)));
      return node;
    }, (node, it) => {
      put(node.firstChild, it.text);
      put(node.lastChild, it.advice);
      attribute(node, 'class', it.level);
    });
    document.title = `${found.length ? `(${found.length}) ` : ''}Status – nginx-openai`;
    // Read aloud when it gets better or worse, not with every number.
    if (level !== said) put($('announce'), `${headline}.`);
    said = level;

    const slots = told.pools.reduce((n, pool) => n + pool.slots, 0);
    const held = told.pools.reduce((n, pool) => n + pool.held, 0);
    const waiting = told.pools.reduce((n, pool) => n + pool.waiting, 0);
    sync($('metrics'), [
      figure('Requests/s', rate(here, then, (it) => it.sum.requests)),
      figure('Tokens/s', rate(here, then, (it) => it.sum.tokens)),
      figure('Slots held', `${held} of ${slots}`),
      figure('Waiting', NUMBER.format(waiting)),
      figure('Requests so far', NUMBER.format(sum.requests), `${NUMBER.format(sum.retries)} ${sum.retries === 1 ? 'retry' : 'retries'}`),
      figure('Failed so far', NUMBER.format(sum.failed), list(sum.by, FAILED)),
      figure('Tokens so far', NUMBER.format(sum.tokens)),
      figure('Cost so far', money(sum.cost), sum.unpriced ? `${NUMBER.format(sum.unpriced)} requests without a price` : ''),
    ], () => {
      const box = document.createElement('div');
      box.append(...['dt', 'dd'].map((name) => document.createElement(name)));
      box.lastChild.append(...['span', 'small'].map((name) => document.createElement(name)));
      return box;
    }, (box, it) => {
      put(box.firstChild, it.name);
      put(box.lastChild.firstChild, it.text);
      put(box.lastChild.lastChild, it.note);
    });

    const well = { healthy: 'ok', degraded: 'warn', unhealthy: 'bad' };
    tables.pools(told.pools.map((it) => ({
      name: it.pool,
      cells: [it.pool, { text: it.status, level: well[it.status] }, `${it.held} of ${it.slots}`, NUMBER.format(it.waiting),
        `${it.keys.filter((key) => key.state === 'cooling_down').length} of ${it.keys.length}`,
        it.backend === 'shm' ? 'this machine' : many(it.nodes.length, 'Redis node', 'Redis nodes')],
    })));
    showKeys(told, now);
    tables.locks(told.locks.map((it) => ({
      name: it.lock_id,
      cells: [
        { text: it.key_id || 'removed', note: `slot ${it.slot}` },
        it.pool,
        { text: it.service_name || 'unknown', note: it.kind === 'lock' ? `lock of client ${it.client}` : 'request' },
        duration(now - Date.parse(it.acquired_at)),
        it.kind === 'lock' ? until(it.expires_at, now) : 'with the request',
        Object.entries(it.context).map(([name, value]) => `${name}: ${value}`).join(', '),
      ],
    })));
    const each = (pick) => told.pools.flatMap((pool) => pick(pool));
    tables.waiters(each((pool) => pool.waiters.map((it) => ({
      name: `${pool.pool} ${it.client} ${it.priority}`,
      cells: [pool.pool, it.client || 'unknown', it.priority, NUMBER.format(it.count)],
    }))));
    const nodes = each((pool) => pool.nodes.map((it) => ({
      name: `${pool.pool} ${it.node}`,
      cells: [it.node, pool.pool, { text: it.state, level: it.state === 'up' ? 'ok' : 'bad' },
        it.round_trip_us === null || it.state !== 'up' ? '' : `${SMALL.format(it.round_trip_us / 1000)} ms`],
    })));
    tables.nodes(nodes);
    $('nodes').parentElement.hidden = !nodes.length;
    $('circuits').parentElement.hidden = !told.circuits.length;
    const levels = { closed: 'ok', open: 'bad', half_open: 'warn' };
    tables.circuits(told.circuits.map((it) => ({
      name: it.upstream,
      cells: [it.upstream, { text: it.state.replace('_', ' '), level: levels[it.state] }, until(it.until, now),
        `${it.failures} of ${it.attempts}`, it.trips || ''],
    })));
    const own = (at, service) => at.sum.of.get(service) || { requests: 0, tokens: 0 };
    const services = [...told.services].sort((a, b) => total(b.requests) - total(a.requests) || (a.service > b.service) - (a.service < b.service));
    tables.services(services.map((it) => {
      return {
        name: it.service,
        cells: [it.service || 'without a client', rate(here, then, (at) => own(at, it.service).requests), rate(here, then, (at) => own(at, it.service).tokens),
          NUMBER.format(own(here, it.service).requests), { text: NUMBER.format(failed(it.requests)), note: list(it.requests, FAILED) },
          NUMBER.format(it.prompt_tokens), NUMBER.format(it.completion_tokens), money(it.cost_dollars)],
      };
    }));
    put($('about-gateway'), `nginx-openai ${told.version}, nginx ${told.nginx}, up for ${duration(told.uptime_seconds * 1000)}. ` +
      'Held slots, requests and tokens are those of this machine. States of nodes are those that the worker that answers has observed.');
  }

  function showKeys(told, now) {
    const keys = told.pools.flatMap((pool) => pool.keys.map((key) => ({ key, pool: pool.pool, does: keyState(key) })));
    keys.sort((a, b) => a.does.rank - b.does.rank);
    const idle = keys.filter((it) => it.does.rank === 4).length;
    const few = keys.length <= 20;
    document.querySelector('.tool').hidden = few || !idle;
    put($('idle-count'), NUMBER.format(idle));
    const left = (n) => n === null ? '' : NUMBER.format(n);
    const wanted = keys.filter((it) => few || $('idle').checked || it.does.rank < 4);
    tables.keys(wanted.map(({ key, pool, does }) => {
      const wrong = Object.keys(key.attempts).filter((verdict) => verdict !== 'ok');
      return {
        name: `${pool}/${key.key_id}`,
        cells: [key.key_id, pool, does, until(key.until, now), `${key.in_flight} of ${key.slots}`,
          left(key.requests_left), left(key.tokens_left),
          { text: NUMBER.format(wrong.reduce((sum, verdict) => sum + key.attempts[verdict], 0)), note: list(key.attempts, wrong) },
          key.last_error || ''],
      };
    }));
  }

  function trouble(text) {
    $('trouble').hidden = !text;
    put($('trouble'), text);
  }

  function fresh() {
    if (!seenAt) return put($('seen'), '');
    put($('seen'), paused ? `Paused at ${clock(seenAt)}` : `As of ${clock(seenAt)}`);
  }

  function signOut(why) {
    sessionStorage.removeItem(STORED);
    token = seenAt = shown = null;
    past = [];
    said = '';
    clearTimeout(timer);
    if (asking) asking.abort();
    document.title = 'Status – nginx-openai';
    document.body.classList.remove('stale');
    $('content').hidden = $('pause').hidden = $('sign-out').hidden = true;
    Object.values(tables).forEach((fill) => fill([]));
    for (const id of ['problems', 'metrics', 'summary', 'about-gateway', 'announce']) $(id).replaceChildren();
    fresh();
    $('sign-in').hidden = false;
    trouble(why);
    $('token').value = '';
    $('token').focus();
  }

  async function poll() {
    clearTimeout(timer);
    if (token === null || asking) return;
    const own = asking = new AbortController();
    const limit = setTimeout(() => own.abort(), ANSWER_MS);
    try {
      const answer = await fetch('v1/status', {
        headers: { 'X-Service-Token': token }, cache: 'no-store', redirect: 'error', signal: own.signal,
      });
      const told = await answer.json().catch(() => null);
      if (own.signal.aborted && token === null) return;
      if (answer.status === 401) return signOut('This token is not known.');
      if (answer.status === 403) return signOut('This token is not an administrator’s.');
      if (!answer.ok || !told) throw new Error(`the gateway answered ${answer.status}`);
      const first = $('content').hidden;
      sessionStorage.setItem(STORED, token);
      $('sign-in').hidden = true;
      $('content').hidden = $('pause').hidden = $('sign-out').hidden = false;
      document.body.classList.remove('stale');
      trouble('');
      show(told);
      if (first) $('summary').focus({ preventScroll: true });
    } catch (error) {
      if (token === null) return;
      const what = own.signal.aborted ? 'the gateway does not answer' : error.message;
      document.body.classList.add('stale');
      trouble(seenAt ? `This data is out of date: ${what}. It is as of ${clock(seenAt)}.` : `The status cannot be read: ${what}.`);
      if (!seenAt) token = null;
    } finally {
      clearTimeout(limit);
      if (asking === own) asking = null;
      fresh();
      if (token !== null && !paused && !document.hidden) timer = setTimeout(poll, POLL_MS);
    }
  }

  $('sign-in').addEventListener('submit', (event) => {
    event.preventDefault();
    token = $('token').value.trim();
    trouble('');
    if (token) poll();
  });
  $('sign-out').addEventListener('click', () => signOut(''));
  $('pause').addEventListener('click', () => {
    paused = !paused;
    attribute($('pause'), 'aria-pressed', String(paused));
    fresh();
    if (!paused) poll();
  });
  $('idle').addEventListener('change', () => shown && showKeys(shown, Date.parse(shown.timestamp)));
  document.addEventListener('visibilitychange', () => { if (!document.hidden && !paused) poll(); });

  token = sessionStorage.getItem(STORED);
  if (token === null) signOut('');
  else poll();
})();
