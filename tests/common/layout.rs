//! PyTorch's layouts to ours and back.

/// (N, C, H, W) to (N, H, W, C).
pub fn nchw_to_nhwc<E: Copy>(x: &[E], [N, C, H, W]: [usize; 4]) -> Vec<E> {
    assert_eq!(x.len(), N * C * H * W);
    let at = |i: usize| {
        let (n, h, w, c) = (i / (H * W * C), i / (W * C) % H, i / C % W, i % C);
        x[((n * C + c) * H + h) * W + w]
    };
    (0..x.len()).map(at).collect()
}

/// (N, H, W, C) to (N, C, H, W).
pub fn nhwc_to_nchw<E: Copy>(x: &[E], [N, H, W, C]: [usize; 4]) -> Vec<E> {
    assert_eq!(x.len(), N * H * W * C);
    let at = |i: usize| {
        let (n, c, h, w) = (i / (C * H * W), i / (H * W) % C, i / W % H, i % W);
        x[((n * H + h) * W + w) * C + c]
    };
    (0..x.len()).map(at).collect()
}

/// Filters (K, C, R, S) to (K, R, S, C).
pub fn oihw_to_krsc<E: Copy>(w: &[E], shape: [usize; 4]) -> Vec<E> {
    nchw_to_nhwc(w, shape)
}

/// Filters (K, R, S, C) to (K, C, R, S).
pub fn krsc_to_oihw<E: Copy>(w: &[E], shape: [usize; 4]) -> Vec<E> {
    nhwc_to_nchw(w, shape)
}

#[test]
fn a_value_moves_to_its_place_and_back() {
    let x: Vec<usize> = (0..2 * 3 * 5 * 7).collect();
    let nhwc = nchw_to_nhwc(&x, [2, 3, 5, 7]);
    // n = 1, c = 2, h = 3, w = 4.
    assert_eq!(nhwc[((5 + 3) * 7 + 4) * 3 + 2], x[((3 + 2) * 5 + 3) * 7 + 4]);
    assert_eq!(nhwc_to_nchw(&nhwc, [2, 5, 7, 3]), x);
    assert_eq!(krsc_to_oihw(&oihw_to_krsc(&x, [2, 3, 5, 7]), [2, 5, 7, 3]), x);
}
