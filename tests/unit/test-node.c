/* SPDX-License-Identifier: BSD-3-Clause */
/* A node's getters: each kind answers what it has, and nothing else. */
#include "unit.h"

#include "device/node.h"
#include "device/vmdesc.h"

static const uint8_t text[] = "\x03xyz";

/* One node of each kind. Its value is @u, unless that has no meaning. */
static VmloadNode make_node(VmloadNodeKind kind, uint64_t u,
                            VmloadNode *children)
{
    VmloadNode node = {
        .name = "name",
        .type = "type",
        .offset = 100,
        .size = 4,
        .version = 7,
        .kind = kind,
    };

    switch (kind) {
    case VMLOAD_NODE_STRUCT:
    case VMLOAD_NODE_ARRAY:
    case VMLOAD_NODE_SUBSECTION:
        node.value.children = children;
        node.n_children = 3;
        break;
    case VMLOAD_NODE_DOUBLE:
        node.value.d = 1.5;
        break;
    case VMLOAD_NODE_STRING:
        node.value.bytes = text + 1;
        break;
    case VMLOAD_NODE_BYTES:
        node.value.bytes = text;
        break;
    default:
        node.value.u = u;
        break;
    }
    return node;
}

static void test_kinds(void **state)
{
    static const struct {
        VmloadNodeKind kind;
        uint64_t u;
        int64_t i;
        double d;
        const uint8_t *bytes;
        uint64_t length;
        bool parent;
    } cases[] = {
        {VMLOAD_NODE_STRUCT, 0, 0, 0, NULL, 0, true},
        {VMLOAD_NODE_ARRAY, 0, 0, 0, NULL, 0, true},
        {VMLOAD_NODE_SUBSECTION, 0, 0, 0, NULL, 0, true},
        {VMLOAD_NODE_BOOL, 1, 1, 1, NULL, 0, false},
        {VMLOAD_NODE_UINT, UINT64_MAX, -1, 18446744073709551616.0, NULL, 0,
         false},
        {VMLOAD_NODE_INT, UINT64_MAX, -1, -1, NULL, 0, false},
        {VMLOAD_NODE_DOUBLE, 0, 0, 1.5, NULL, 0, false},
        {VMLOAD_NODE_STRING, 0, 0, 0, text + 1, 3, false},
        {VMLOAD_NODE_BYTES, 0, 0, 0, text, 4, false},
        {VMLOAD_NODE_NULL, 0, 0, 0, NULL, 0, false},
    };
    VmloadNode children[3] = {{0}};
    size_t i;

    (void)state;
    children[0].name = "a";
    children[1].name = "b";
    children[2].name = "b";
    for (i = 0; i < G_N_ELEMENTS(cases); i++) {
        VmloadNode node = make_node(cases[i].kind, cases[i].u, children);
        uint64_t length = 99;

        assert_int_equal(vmload_node_get_kind(&node), cases[i].kind);
        assert_string_equal(vmload_node_get_name(&node), "name");
        assert_string_equal(vmload_node_get_type(&node), "type");
        assert_int_equal(vmload_node_get_offset(&node), 100);
        assert_int_equal(vmload_node_get_size(&node), 4);
        assert_int_equal(vmload_node_get_version(&node), 7);
        assert_true(vmload_node_get_uint(&node) == cases[i].u);
        assert_true(vmload_node_get_int(&node) == cases[i].i);
        assert_true(vmload_node_get_double(&node) == cases[i].d);
        assert_ptr_equal(vmload_node_get_bytes(&node, &length),
                         cases[i].bytes);
        assert_int_equal(length, cases[i].length);
        assert_int_equal(vmload_node_get_n_children(&node),
                         cases[i].parent ? 3 : 0);
        assert_ptr_equal(vmload_node_get_child(&node, 2),
                         cases[i].parent ? &children[2] : NULL);
        assert_null(vmload_node_get_child(&node, 3));
        assert_null(vmload_node_get_child(&node, UINT64_MAX));
        /* The first of two. */
        assert_ptr_equal(vmload_node_find(&node, "b"),
                         cases[i].parent ? &children[1] : NULL);
        assert_null(vmload_node_find(&node, "c"));
        assert_null(vmload_node_find(&node, ""));
    }
}

/* The copy of the payload counts, and the nodes get what is left. */
static void test_tree(void **state)
{
    static const struct {
        uint64_t length;
        uint64_t limit;
        bool ok;
    } cases[] = {
        {0, 0, true},   {1, 0, false},  {4, 3, false},
        {4, 4, true},   {4, 500, true}, {UINT64_MAX, UINT64_MAX - 1, false},
    };
    VmloadVmdesc vmdesc = {.refs = 1};
    size_t i;

    (void)state;
    for (i = 0; i < G_N_ELEMENTS(cases); i++) {
        uint64_t left = cases[i].limit - cases[i].length;
        VmloadTree *tree = vmload_tree_new(&vmdesc, text, cases[i].length,
                                           cases[i].limit);

        assert_int_equal(tree != NULL, cases[i].ok);
        /* A tree keeps its description alive; a failure does not. */
        assert_int_equal(vmdesc.refs, cases[i].ok ? 2 : 1);
        if (tree != NULL) {
            assert_ptr_not_equal(tree->data, text);
            assert_memory_equal(tree->data, text, cases[i].length);
            assert_int_equal(tree->arena.left, left);
            assert_null(vmload_arena_alloc(&tree->arena, left + 1, 1));
            assert_int_equal(
                vmload_arena_alloc(&tree->arena, 1, 16) != NULL, left > 100);
            vmload_node_free(&tree->root);
        }
        assert_int_equal(vmdesc.refs, 1);
    }
    vmload_node_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kinds),
        cmocka_unit_test(test_tree),
    };

    return cmocka_run_group_tests_name("node", tests, NULL, NULL);
}
