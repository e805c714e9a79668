package ai.lram.bridge.env;

/** What all in-JVM tasks share: checks, clipping, step counting and the end of episodes. Subclasses hold the plant. */
abstract class ClassicEnvironment implements Environment {
    private final EnvironmentSpec spec;
    private final SeededRandom random = new SeededRandom(0);
    private final double[] control;
    private final double[] low;
    private final double[] high;
    private int steps;
    private boolean running;
    private float reward;
    private boolean terminated;
    private boolean truncated;

    ClassicEnvironment(EnvironmentSpec spec) {
        this.spec = spec;
        control = new double[spec.actionSize()];
        low = spec.action().stream().mapToDouble(Feature::low).toArray();
        high = spec.action().stream().mapToDouble(Feature::high).toArray();
    }

    /** Draws the plant's initial state. */
    abstract void begin(SeededRandom random);

    /**
     * Advances the plant by one control step.
     *
     * @param control finite and within bounds; a discrete action is its id
     * @return the step's reward
     */
    abstract double advance(double[] control);

    /** True if the plant is in a final state of the task. */
    abstract boolean atGoal();

    abstract void observe(float[] observation);

    @Override
    public final EnvironmentSpec spec() {
        return spec;
    }

    @Override
    public final void reset(long seed, float[] observation) {
        requireObservation(observation);
        random.seed(seed);
        begin(random);
        steps = 0;
        reward = 0;
        terminated = false;
        truncated = false;
        running = true;
        observe(observation);
    }

    @Override
    public final void step(float[] action, float[] observation) {
        requireObservation(observation);
        if (!running) {
            throw new EnvironmentStateException(
                    "environment " + spec.id() + " cannot step",
                    steps == 0 ? "no episode was started" : "the episode ended after " + steps + " steps",
                    "call reset first");
        }
        take(action);
        reward = (float) advance(control);
        steps++;
        terminated = atGoal();
        truncated = !terminated && steps >= spec.maxEpisodeSteps();
        running = !terminated && !truncated;
        observe(observation);
    }

    @Override
    public final float reward() {
        return reward;
    }

    @Override
    public final boolean terminated() {
        return terminated;
    }

    @Override
    public final boolean truncated() {
        return truncated;
    }

    private void requireObservation(float[] observation) {
        if (observation.length != spec.observationSize()) {
            throw new InvalidBufferException(
                    "observation buffer of environment " + spec.id() + " has " + observation.length + " entries",
                    "the observation has " + spec.observationSize(),
                    "allocate spec().observationSize() floats");
        }
    }

    private void take(float[] action) {
        if (action.length != control.length) {
            throw new InvalidActionException(
                    "action of environment " + spec.id() + " has " + action.length + " entries",
                    "the task takes " + control.length,
                    "pass spec().actionSize() floats");
        }
        for (int i = 0; i < control.length; i++) {
            float a = action[i];
            if (!Float.isFinite(a)) {
                throw new InvalidActionException(
                        "action " + spec.action().get(i).name() + " of environment " + spec.id() + " is " + a,
                        "a motor cannot execute it",
                        "check the policy's output before sending it");
            }
            if (spec.discrete() && (a != (int) a || a < 0 || a >= spec.discreteActions())) {
                throw new InvalidActionException(
                        "environment " + spec.id() + " has no action " + a,
                        "its actions are the ids 0.." + (spec.discreteActions() - 1),
                        "send one of these");
            }
            control[i] = Math.clamp(a, low[i], high[i]);
        }
    }
}
