// A Tidewire client in plain JavaScript, without the package: what PROTOCOL.md says, in the JSON codec. It follows
// objects and datastores, notices gaps, comes back by itself and repeats what was not answered. The package does more
// (schemas, cells, fences, deadlines for everything); this shows that the protocol needs nothing but its description.

const [WELCOME, ANSWER, DENIED, ENVELOPE, BEACON, ACK, REFUSAL, GOODBYE] = [64, 65, 66, 67, 68, 69, 70, 72];
const [HELLO, SUBSCRIBE, UNSUBSCRIBE, WRITE, REFETCH, PAGE, PING] = [1, 2, 3, 4, 5, 6, 7];

export class PlainClient {
  #id = crypto.randomUUID();
  #followed = new Map(); // subscription -> what is known of its target
  #writes = new Map(); // request -> { message, resolve, reject }, kept until answered, over any number of connections
  #numbers = 0;
  #failures = 0;

  constructor(url, WebSocket = globalThis.WebSocket) {
    Object.assign(this, { url, WebSocket }).#dial();
  }

  /** Calls `show(value, position)` with an object's value, now and after every change; `undefined` where it is absent. */
  object(key, show) {
    return this.#follow([0, key], (it) => show(it.rows.get(null)?.value, it.position));
  }

  /** Calls `show(rows, position)` with a datastore's records by key; it is opened as permanent if it does not exist. */
  datastore(id, primary, show) {
    const values = (rows) => new Map([...rows].map(([key, row]) => [key, row.value]));
    return this.#follow([1, id, true, primary], (it) => show(values(it.rows), it.position));
  }

  put(key, value) { return this.#write([0, key, value]); }
  delete(key) { return this.#write([1, key]); }
  set(datastore, record) { return this.#write([2, datastore, record]); }
  remove(datastore, key) { return this.#write([3, datastore, key]); }

  close() {
    this.closed = true;
    clearTimeout(this.timer);
    this.socket.close(1000);
  }

  #follow(target, show) {
    const it = { id: ++this.#numbers, target, show, rows: new Map(), early: [], position: null, attempt: 0 };
    this.#followed.set(it.id, it);
    this.#send([SUBSCRIBE, [[it.id, target, null]]]);
    return () => this.#followed.delete(it.id) && this.#send([UNSUBSCRIBE, it.id]);
  }

  #write(operation) {
    const request = ++this.#numbers;
    const message = [WRITE, request, operation];
    this.#send(message);
    return new Promise((resolve, reject) => this.#writes.set(request, { message, resolve, reject }));
  }

  #send(...messages) { if (this.live) this.socket.send(JSON.stringify(messages)); }

  #dial() {
    const socket = this.socket = new this.WebSocket(this.url, 'tidewire.v1.json');
    let heard = Date.now();
    socket.onopen = () => socket.send(JSON.stringify([[HELLO, this.#id, null]]));
    socket.onmessage = ({ data }) => {
      heard = Date.now();
      for (const message of JSON.parse(data)) this.#receive(message, () => heard);
    };
    socket.onerror = () => {}; // the close that follows is enough
    socket.onclose = ({ code }) => {
      clearInterval(this.heartbeat);
      this.live = false;
      if (this.closed || (code >= 4500 && code <= 4999)) return; // coming back unchanged would end the same way
      const wait = Math.random() * Math.min(30_000, 500 * 2 ** this.#failures++); // full jitter
      this.timer = setTimeout(() => this.#dial(), wait + (this.after ?? 0));
      this.after = 0;
    };
  }

  #receive([kind, ...fields], heard) {
    if (kind === WELCOME) {
      const [, period] = fields;
      this.live = true;
      this.heartbeat = setInterval(() => {
        if (Date.now() - heard() > 2.5 * period) this.socket.close(); // half open
        else this.#send([PING]);
      }, period);
      // Everything again in one frame: positions first, so that what was missed is answered, then what is unanswered.
      const all = [...this.#followed.values()].map((it) => Object.assign(it, { asked: false, staged: undefined, early: [] }));
      this.#send([SUBSCRIBE, all.map((it) => [it.id, it.target, it.position])]);
      this.#send(...[...this.#writes.values()].map((write) => write.message));
    } else if (kind === ANSWER) {
      const [id, attempt, topic, epoch, answer] = fields;
      const it = this.#followed.get(id);
      if (it) this.#answer(Object.assign(it, { topic, asked: false }), attempt, epoch, answer);
      this.#failures = 0; // a useful exchange
    } else if (kind === DENIED) {
      const [id, attempt, code] = fields;
      const it = this.#followed.get(id);
      if (attempt === 0 && code < 100) this.#followed.delete(id); // for good
      else if (it) setTimeout(() => this.#send([SUBSCRIBE, [[id, it.target, it.position]]]), 1_000);
    } else if (kind === ENVELOPE) {
      const [topic, sequence, prev, , key, isPresent, value] = fields;
      const change = { sequence, prev: prev ?? sequence - 1, key, isPresent, value };
      for (const it of this.#followed.values()) if (it.topic === topic) this.#change(it, change);
    } else if (kind === BEACON) {
      const heads = new Map(fields[1]);
      for (const it of this.#followed.values()) if (heads.get(it.topic) > it.position?.[1]) this.#refetch(it);
    } else if (kind === ACK || kind === REFUSAL) {
      const [request, result, message] = fields;
      const write = this.#writes.get(request);
      this.#writes.delete(request);
      if (kind === ACK) write?.resolve(result);
      else write?.reject(Object.assign(new Error(message), { code: result }));
    } else if (kind === GOODBYE) {
      this.after = fields[2];
    }
  }

  #answer(it, attempt, epoch, [kind, ...fields]) {
    const install = (sequence, rows) => {
      Object.assign(it, { position: [epoch, sequence], rows, staged: undefined });
      for (const change of it.early.splice(0)) this.#change(it, change);
      it.show(it);
    };
    if (kind === 2) install(fields[0], new Map([[null, { sequence: fields[0], value: fields[2] }]]));
    else if (kind === 4) install(fields[0], new Map());
    else if (kind === 3) {
      const [sequence, rows, next] = fields;
      it.staged ??= new Map();
      for (const [rowSequence, key, value] of rows) it.staged.set(key, { sequence: rowSequence, value });
      if (next === null) install(sequence, it.staged);
      else this.#send([PAGE, it.id, attempt, next]);
    } // 0, current: nothing is missing; 1, tail: its envelopes follow
  }

  #change(it, change) {
    if (it.staged) return it.early.push(change); // its snapshot is still on the way
    if (!it.position || change.sequence <= it.position[1]) return;
    if (change.prev > it.position[1]) return this.#refetch(it); // a gap
    it.position = [it.position[0], change.sequence];
    const isOld = it.rows.get(change.key)?.sequence > change.sequence; // its row came newer with the snapshot
    if (!isOld && change.isPresent) it.rows.set(change.key, change);
    else if (!isOld) it.rows.delete(change.key);
    it.show(it);
  }

  #refetch(it) {
    if (!it.asked) this.#send([REFETCH, it.id, ++it.attempt, it.position]);
    it.asked = true; // one at a time
  }
}
