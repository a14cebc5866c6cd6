// `tidewire/store`: what the adapters are made of, for whoever makes another one.

export {
  type CollectionOptions, type CollectionStore, collectionStore, type CollectionView, NO_COLLECTION, NO_POOL, type ObjectStore, type PoolStore, type PoolView,
  type Scope, scopeOf, type ScopeOptions, type SharedPoolOptions,
} from './scope.js';
export { metaStore, NOTHING, selectStore, type Source, statusStore, type Store, valueStore } from './store.js';
