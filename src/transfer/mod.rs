//! What a trained network's features are worth on other classes (Tables 3, 4 and 6, Fig 7), and
//! whether the pictures there are really others (section 5.2).
//!
//! The network is frozen. The output of each of its layers is the input of a linear classifier,
//! trained on few images a class and judged on others:
//!
//! | module | what it does |
//! |---|---|
//! | [`retained`] | the layers whose output is a feature |
//! | [`features`] | features of every image, mapped from a file |
//! | [`extract`] | one pass over the images that writes that file |
//! | [`split`] | which images a fold learns from and is judged on |
//! | [`scaling`] | features to mean 0 and length 1 |
//! | [`product`] | the large products, on any backend |
//! | [`basis`] | coordinates of the training images that keep every inner product |
//! | [`softmax`], [`svm`] | the losses of the two classifiers |
//! | [`objective`] | loss and regularisation, with gradient |
//! | [`lbfgs`] | its minimum |
//! | [`probe`] | a classifier on one layer: its regularisation chosen, trained, judged |
//! | [`study`] | all of them: layers, classifiers, images a class, folds |
//! | [`keep`] | a trained classifier in a file |
//! | [`scratch`] | the whole network trained on the same few images instead |
//! | [`duplicates`] | pictures that two data sets share |

pub mod basis;
pub mod duplicates;
pub mod extract;
pub mod features;
pub mod keep;
pub mod lbfgs;
pub mod objective;
pub mod probe;
pub mod product;
pub mod retained;
pub mod scaling;
pub mod scratch;
pub mod softmax;
pub mod split;
pub mod study;
pub mod svm;
