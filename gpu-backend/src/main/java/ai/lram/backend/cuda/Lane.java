package ai.lram.backend.cuda;

/** A queue of the engine with what its kernels may write between two of them. Kernels of different lanes run beside each other. */
final class Lane {
    /** Zero for the engine's own, which everything else is queued on. */
    final int number;

    final long stream;

    /** {@link Engine#WORKSPACE} bytes each. */
    final long ltWorkspace;

    final long partials;

    /** Whether the next kernel follows upon another lane's, which it cannot wait for by itself. */
    private boolean joined;

    Lane(int number, long stream, long ltWorkspace, long partials) {
        this.number = number;
        this.stream = stream;
        this.ltWorkspace = ltWorkspace;
        this.partials = partials;
    }

    void join() {
        joined = true;
    }

    /** Of the kernel that is queued next: whether it follows upon this lane's alone, and so may begin before that has ended. */
    boolean alone() {
        boolean alone = !joined;
        joined = false;
        return alone;
    }
}
