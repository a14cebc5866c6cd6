// `tidewire/store`: what the adapters are made of, for whoever makes another one.

export {
  type CollectionOptions, type CollectionStore, collectionStore, type CollectionView, NO_COLLECTION, type ObjectStore, type Scope, scopeOf, type ScopeOptions,
} from './scope.js';
export { metaStore, NOTHING, selectStore, type Source, statusStore, type Store, valueStore } from './store.js';
