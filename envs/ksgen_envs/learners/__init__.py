"""Policies that learn the Workbench's tasks.

===================  ===============================================================================
``condition``        what a policy is told to do: the environment's goal, or a subgoal's hand in metres
``inputs``           an environment's observations as a policy's inputs, `PolicyInputs`
``true_subgoals``    an imaginer that knows: a person's true hands in the present scene
``demonstrations``   the scripted expert's episodes, collected and kept on disk
``chunk_policy``     the network: a transformer that predicts chunks of actions
``acting``           chunks carried out: temporal ensembling or receding horizon
``cloning``          goal-conditioned behaviour cloning, with curves, checkpoints and resuming
``hindsight``        SAC with hindsight experience replay, by Stable-Baselines3
``evaluation``       success with Wilson's intervals, and films
``runs``             folders of trained policies
``comparison``       the same policy given no, imagined and true subgoals
``pointing``         how well the hands of subgoals point, without a policy
===================  ===============================================================================
"""
