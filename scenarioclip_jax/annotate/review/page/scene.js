// A scene while it is edited. Objects and relations have keys, which stay when others are removed.

let lastKey = 0;

export class Draft {
  // `scene` as the server tells it; null for a photo without one.
  constructor(scene) {
    const keys = (scene?.objects ?? []).map(() => ++lastKey);
    this.now = {
      action: scene?.action ?? "",
      captions: [...(scene?.captions ?? [])],
      objects: (scene?.objects ?? []).map((thing, number) => ({
        ...thing,
        box: [...thing.box],
        masked: String(thing.box), // a mask is lost with the box that it belongs to
        from: number,
        key: keys[number],
      })),
      relations: (scene?.relations ?? []).map((each, number) => ({
        ...each,
        subject: keys[each.subject],
        object: keys[each.object],
        from: number,
        key: ++lastKey,
      })),
    };
    this.before = []; // steps
    this.first = JSON.stringify(this.sent());
  }

  // What the server is told.
  sent() {
    const { action, captions, objects, relations } = this.now;
    const place = new Map(objects.map((thing, number) => [thing.key, number]));
    return {
      action,
      captions: captions.map((text) => text.trim()).filter(Boolean),
      objects: objects.map(({ name, box, from }) => ({ name, box: box.map(rounded), from })),
      relations: relations.map(({ subject, predicate, object, from }) => ({
        subject: place.get(subject),
        predicate,
        object: place.get(object),
        from,
      })),
    };
  }

  changed() {
    return JSON.stringify(this.sent()) !== this.first;
  }

  // To be called before each step that can be taken back.
  step() {
    const text = JSON.stringify(this.now);
    if (this.before.at(-1) !== text) this.before.push(text);
  }

  back() {
    const text = JSON.stringify(this.now);
    let last;
    do last = this.before.pop();
    while (last === text);
    if (last !== undefined) this.now = JSON.parse(last);
    return last !== undefined;
  }

  object(key) {
    return this.now.objects.find((thing) => thing.key === key);
  }

  addObject(box) {
    this.step();
    const thing = { name: "", box, from: null, key: ++lastKey };
    this.now.objects.push(thing);
    return thing;
  }

  addRelation(subject, object) {
    this.step();
    const relation = { subject, predicate: "", object, from: null, key: ++lastKey };
    this.now.relations.push(relation);
    return relation;
  }

  // Removes an object, with its relations, or a relation.
  remove(key) {
    this.step();
    const { objects, relations } = this.now;
    this.now.objects = objects.filter((thing) => thing.key !== key);
    this.now.relations = relations.filter(
      (each) => ![each.key, each.subject, each.object].includes(key),
    );
  }
}

const rounded = (number) => Math.round(number * 100) / 100;
