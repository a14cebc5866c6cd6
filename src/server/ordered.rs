//! Maps and sets in the order of their keys.
//!
//! Everywhere but in a page they are the B-trees of the standard library. In the page's wasm file every kind of B-tree
//! would take 1 KB of the download, and there are twenty; there, sorted lists with the same methods stand in for them:
//! a change in the middle moves what comes after it, which is nothing beside a frame for as many entries as a page holds.

#[cfg(not(feature = "bare"))]
pub(super) use alloc::collections::{BTreeMap as OrderedMap, BTreeSet as OrderedSet};

#[cfg(feature = "bare")]
pub(super) use list::{OrderedMap, OrderedSet};

/// What hash tables are seeded with. A page's server has nobody to choose keys that collide.
#[cfg(not(feature = "bare"))]
pub(super) use foldhash::fast::RandomState as Seed;

#[cfg(feature = "bare")]
pub(super) use foldhash::fast::FixedState as Seed;

/// A map whose order nobody asks for: a hash table, of which every kind would take as much of the page's download.
#[cfg(not(feature = "bare"))]
pub(super) type Lookup<K, V> = hashbrown::HashMap<K, V, Seed>;

#[cfg(feature = "bare")]
pub(super) use list::OrderedMap as Lookup;

#[cfg(any(test, feature = "bare"))]
#[cfg_attr(not(feature = "bare"), expect(dead_code, reason = "the tests need no other way to do the same"))]
mod list {
    use alloc::vec::{self, Vec};
    use core::{
        borrow::Borrow,
        cmp::Ordering,
        mem,
        ops::{Bound, RangeBounds},
        slice,
    };

    /// A list of entries in the order of their keys, each key once.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub(crate) struct OrderedMap<K, V>(Vec<(K, V)>);

    /// What [`OrderedMap::entry`] finds.
    #[derive(Debug)]
    pub(crate) struct Entry<'m, K, V> {
        map: &'m mut OrderedMap<K, V>,
        key: K,
    }

    impl<K, V> Default for OrderedMap<K, V> {
        fn default() -> Self {
            Self::new()
        }
    }

    impl<K, V> OrderedMap<K, V> {
        pub(crate) const fn new() -> Self {
            Self(Vec::new())
        }

        pub(crate) const fn len(&self) -> usize {
            self.0.len()
        }

        pub(crate) const fn is_empty(&self) -> bool {
            self.0.is_empty()
        }

        pub(crate) fn clear(&mut self) {
            self.0.clear();
        }

        pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = (&K, &V)> {
            self.0.iter().map(|(key, value)| (key, value))
        }

        pub(crate) fn keys(&self) -> impl DoubleEndedIterator<Item = &K> {
            self.0.iter().map(|(key, _)| key)
        }

        pub(crate) fn values(&self) -> impl DoubleEndedIterator<Item = &V> {
            self.0.iter().map(|(_, value)| value)
        }

        pub(crate) fn values_mut(&mut self) -> impl DoubleEndedIterator<Item = &mut V> {
            self.0.iter_mut().map(|(_, value)| value)
        }

        pub(crate) fn first_key_value(&self) -> Option<(&K, &V)> {
            self.0.first().map(|(key, value)| (key, value))
        }

        pub(crate) fn pop_first(&mut self) -> Option<(K, V)> {
            if self.0.is_empty() { None } else { Some(self.0.remove(0)) }
        }

        pub(crate) fn retain(&mut self, mut keep: impl FnMut(&K, &mut V) -> bool) {
            self.0.retain_mut(|(key, value)| keep(key, value));
        }
    }

    impl<K: Ord, V> OrderedMap<K, V> {
        fn find<Q: Ord + ?Sized>(&self, key: &Q) -> Result<usize, usize>
        where
            K: Borrow<Q>,
        {
            // Most entries are added at the end: ids and times grow.
            match self.0.last().map(|(last, _)| last.borrow().cmp(key)) {
                None | Some(Ordering::Less) => Err(self.0.len()),
                Some(Ordering::Equal) => Ok(self.0.len() - 1),
                Some(Ordering::Greater) => self.0.binary_search_by(|(other, _)| other.borrow().cmp(key)),
            }
        }

        pub(crate) fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
        where
            K: Borrow<Q>,
        {
            self.get_key_value(key).map(|(_, value)| value)
        }

        pub(crate) fn get_key_value<Q: Ord + ?Sized>(&self, key: &Q) -> Option<(&K, &V)>
        where
            K: Borrow<Q>,
        {
            let place = self.find(key).ok()?;
            self.0.get(place).map(|(key, value)| (key, value))
        }

        pub(crate) fn get_mut<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
        where
            K: Borrow<Q>,
        {
            let place = self.find(key).ok()?;
            self.0.get_mut(place).map(|(_, value)| value)
        }

        pub(crate) fn contains_key<Q: Ord + ?Sized>(&self, key: &Q) -> bool
        where
            K: Borrow<Q>,
        {
            self.find(key).is_ok()
        }

        pub(crate) fn insert(&mut self, key: K, value: V) -> Option<V> {
            match self.find(&key) {
                Ok(place) => Some(mem::replace(&mut self.0[place].1, value)),
                Err(place) => {
                    self.0.insert(place, (key, value));
                    None
                }
            }
        }

        pub(crate) fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<V>
        where
            K: Borrow<Q>,
        {
            self.remove_entry(key).map(|(_, value)| value)
        }

        pub(crate) fn remove_entry<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<(K, V)>
        where
            K: Borrow<Q>,
        {
            self.find(key).ok().map(|place| self.0.remove(place))
        }

        pub(crate) const fn entry(&mut self, key: K) -> Entry<'_, K, V> {
            Entry { map: self, key }
        }

        pub(crate) fn range<Q, R>(&self, range: R) -> impl DoubleEndedIterator<Item = (&K, &V)>
        where
            Q: Ord + ?Sized,
            K: Borrow<Q>,
            R: RangeBounds<Q>,
        {
            let start = match range.start_bound() {
                Bound::Unbounded => 0,
                Bound::Included(key) => self.find(key).unwrap_or_else(|place| place),
                Bound::Excluded(key) => self.find(key).map_or_else(|place| place, |place| place + 1),
            };
            let end = match range.end_bound() {
                Bound::Unbounded => self.0.len(),
                Bound::Included(key) => self.find(key).map_or_else(|place| place, |place| place + 1),
                Bound::Excluded(key) => self.find(key).unwrap_or_else(|place| place),
            };
            self.0.get(start..end).unwrap_or_default().iter().map(|(key, value)| (key, value))
        }
    }

    impl<'m, K: Ord, V> Entry<'m, K, V> {
        pub(crate) fn or_insert_with(self, make: impl FnOnce() -> V) -> &'m mut V {
            let place = match self.map.find(&self.key) {
                Ok(place) => place,
                Err(place) => {
                    self.map.0.insert(place, (self.key, make()));
                    place
                }
            };
            &mut self.map.0[place].1
        }

        pub(crate) fn or_insert(self, value: V) -> &'m mut V {
            self.or_insert_with(|| value)
        }

        pub(crate) fn or_default(self) -> &'m mut V
        where
            V: Default,
        {
            self.or_insert_with(V::default)
        }
    }

    impl<K: Ord, V> Extend<(K, V)> for OrderedMap<K, V> {
        fn extend<I: IntoIterator<Item = (K, V)>>(&mut self, entries: I) {
            for (key, value) in entries {
                self.insert(key, value);
            }
        }
    }

    impl<K: Ord, V> FromIterator<(K, V)> for OrderedMap<K, V> {
        fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
            let mut map = Self::new();
            map.extend(entries);
            map
        }
    }

    impl<K, V> IntoIterator for OrderedMap<K, V> {
        type Item = (K, V);
        type IntoIter = vec::IntoIter<(K, V)>;

        fn into_iter(self) -> Self::IntoIter {
            self.0.into_iter()
        }
    }

    impl<'m, K, V> IntoIterator for &'m OrderedMap<K, V> {
        type Item = (&'m K, &'m V);
        type IntoIter = core::iter::Map<slice::Iter<'m, (K, V)>, fn(&'m (K, V)) -> (&'m K, &'m V)>;

        fn into_iter(self) -> Self::IntoIter {
            self.0.iter().map(|(key, value)| (key, value))
        }
    }

    /// A list of items in their order, each once.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub(crate) struct OrderedSet<T>(OrderedMap<T, ()>);

    impl<T> Default for OrderedSet<T> {
        fn default() -> Self {
            Self::new()
        }
    }

    impl<T> OrderedSet<T> {
        pub(crate) const fn new() -> Self {
            Self(OrderedMap::new())
        }

        pub(crate) const fn len(&self) -> usize {
            self.0.len()
        }

        pub(crate) const fn is_empty(&self) -> bool {
            self.0.is_empty()
        }

        pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = &T> {
            self.0.keys()
        }

        pub(crate) fn first(&self) -> Option<&T> {
            self.0.first_key_value().map(|(item, ())| item)
        }
    }

    impl<T: Ord> OrderedSet<T> {
        pub(crate) fn insert(&mut self, item: T) -> bool {
            self.0.insert(item, ()).is_none()
        }

        pub(crate) fn remove<Q: Ord + ?Sized>(&mut self, item: &Q) -> bool
        where
            T: Borrow<Q>,
        {
            self.0.remove(item).is_some()
        }

        pub(crate) fn range<Q, R>(&self, range: R) -> impl DoubleEndedIterator<Item = &T>
        where
            Q: Ord + ?Sized,
            T: Borrow<Q>,
            R: RangeBounds<Q>,
        {
            self.0.range(range).map(|(item, ())| item)
        }
    }

    impl<T: Ord> Extend<T> for OrderedSet<T> {
        fn extend<I: IntoIterator<Item = T>>(&mut self, items: I) {
            self.0.extend(items.into_iter().map(|item| (item, ())));
        }
    }

    impl<T: Ord> FromIterator<T> for OrderedSet<T> {
        fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
            let mut set = Self::default();
            set.extend(items);
            set
        }
    }

    impl<T> IntoIterator for OrderedSet<T> {
        type Item = T;
        type IntoIter = core::iter::Map<vec::IntoIter<(T, ())>, fn((T, ())) -> T>;

        fn into_iter(self) -> Self::IntoIter {
            self.0.into_iter().map(|(item, ())| item)
        }
    }

    impl<'s, T> IntoIterator for &'s OrderedSet<T> {
        type Item = &'s T;
        type IntoIter = core::iter::Map<slice::Iter<'s, (T, ())>, fn(&'s (T, ())) -> &'s T>;

        fn into_iter(self) -> Self::IntoIter {
            self.0.0.iter().map(|(item, ())| item)
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::{BTreeMap, BTreeSet};

    use super::list::{OrderedMap, OrderedSet};

    /// The list and the tree must agree after every step of a seeded walk.
    #[test]
    fn a_sorted_list_answers_as_a_b_tree_does() {
        let mut random = fastrand::Rng::with_seed(7);
        let (mut list, mut tree) = (OrderedMap::new(), BTreeMap::new());
        for step in 0..5_000 {
            let key = random.u32(0..60);
            match random.u8(0..7) {
                0 | 1 => assert_eq!(list.insert(key, step), tree.insert(key, step)),
                2 => assert_eq!(list.remove(&key), tree.remove(&key)),
                3 => assert_eq!(list.remove_entry(&key), tree.remove_entry(&key)),
                4 if step % 5 == 0 => assert_eq!(list.pop_first(), tree.pop_first()),
                5 if step % 50 == 0 => {
                    list.retain(|other, _| other % 3 != key % 3);
                    tree.retain(|other, _| other % 3 != key % 3);
                }
                _ => {
                    *list.entry(key).or_default() += 1;
                    *tree.entry(key).or_default() += 1;
                }
            }
            let until = key + random.u32(0..30);
            assert!(list.iter().eq(tree.iter()));
            assert!(list.range(key..until).eq(tree.range(key..until)));
            assert!(list.range(key..=until).eq(tree.range(key..=until)));
            assert!(list.range(..key).rev().eq(tree.range(..key).rev()));
            assert_eq!(list.get(&until), tree.get(&until));
            assert_eq!(list.get_mut(&key), tree.get_mut(&key));
            assert_eq!(list.contains_key(&until), tree.contains_key(&until));
            assert_eq!(list.first_key_value(), tree.first_key_value());
            assert_eq!((list.len(), list.is_empty()), (tree.len(), tree.is_empty()));
        }
    }

    #[test]
    fn a_sorted_list_keeps_each_item_once() {
        let items = [3, 1, 2, 3, 1];
        let (list, tree) = (OrderedSet::from_iter(items), BTreeSet::from(items));
        assert!(list.iter().eq(tree.iter()));
        assert_eq!(list.first(), tree.first());
        assert!(list.range(2..).eq(tree.range(2..)));
        assert!(list.into_iter().eq(tree));
    }
}
